"""The published data sets: which files, from where, and the numbers by which a true copy is known.

SHA-256 of CIFAR's archives from Keras (`keras.datasets.cifar10` and `cifar100`: file_hash), of MNIST's and
Fashion-MNIST's from torchvision 0.12 (`prototype.datasets`); MNIST's are listed elsewhere beside the hashes of the
unpacked files, which are those of a copy that we hold. MD5, mirrors and folders from torchvision (`datasets.cifar`,
`datasets.mnist`). Lengths from public loaders that check them together with the same hashes.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath


@dataclass(frozen=True)
class Archive:
    """A file as it is published. place: where torchvision keeps it in the data set's folder."""

    place: str
    bytes: int
    sha256: str

    @property
    def name(self) -> str:
        return PurePosixPath(self.place).name


@dataclass(frozen=True)
class Source:
    """A published data set."""

    mirrors: tuple[str, ...]
    """Addresses under each of which every archive lies by its name."""
    archives: tuple[Archive, ...]
    files: Mapping[str, str | None]
    """What is read, by its place once unpacked → its MD5; None for a format in which nothing but numbers can be."""


def _idx(folder: str, mirrors: tuple[str, ...], archives: Mapping[str, tuple[int, str]]) -> Source:
    """Four gzipped IDX files."""
    raw = f"{folder}/raw"
    listed = tuple(Archive(f"{raw}/{name}-ubyte.gz", *known) for name, known in archives.items())
    return Source(mirrors, listed, {f"{raw}/{name}-ubyte": None for name in archives})


def _cifar(archive: Archive, folder: str, md5: Mapping[str, str]) -> Source:
    """One gzipped tar file of pickles."""
    return Source(("https://www.cs.toronto.edu/~kriz/",), (archive,), {f"{folder}/{name}": md5[name] for name in md5})


SOURCES: dict[str, Source] = {
    "cifar10": _cifar(
        Archive(
            "cifar-10-python.tar.gz", 170_498_071, "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce"
        ),
        "cifar-10-batches-py",
        {
            "data_batch_1": "c99cafc152244af753f735de768cd75f",
            "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
            "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
            "data_batch_4": "634d18415352ddfa80567beed471001a",
            "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
            "test_batch": "40351d587109b95175f43aff81a1287e",
            "batches.meta": "5ff9c542aee3614f3951f8cda6e48888",
        },
    ),
    "cifar100": _cifar(
        Archive(
            "cifar-100-python.tar.gz", 169_001_437, "85cd44d02ba6437773c5bbd22e183051d648de2e7d6b014e1ef29b855ba677a7"
        ),
        "cifar-100-python",
        {
            "train": "16019d7e3df5f24257cddd939b257f8d",
            "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
            "meta": "7973b15100ade9c7d40fb424638fde48",
        },
    ),
    "mnist": _idx(
        "MNIST",
        ("https://ossci-datasets.s3.amazonaws.com/mnist/", "http://yann.lecun.com/exdb/mnist/"),
        {
            "train-images-idx3": (9_912_422, "440fcabf73cc546fa21475e81ea370265605f56be210a4024d2ca8f203523609"),
            "train-labels-idx1": (28_881, "3552534a0a558bbed6aed32b30c495cca23d567ec52cac8be1a0730e8010255c"),
            "t10k-images-idx3": (1_648_877, "8d422c7b0a1c1c79245a5bcf07fe86e33eeafee792b84584aec276f5a2dbc4e6"),
            "t10k-labels-idx1": (4_542, "f7ae60f92e00ec6debd23a6088c31dbd2371eca3ffa0defaefb259924204aec6"),
        },
    ),
    "fashion_mnist": _idx(
        "FashionMNIST",
        ("http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",),
        {
            "train-images-idx3": (26_421_880, "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84"),
            "train-labels-idx1": (29_515, "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845"),
            "t10k-images-idx3": (4_422_102, "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073"),
            "t10k-labels-idx1": (5_148, "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5"),
        },
    ),
}
