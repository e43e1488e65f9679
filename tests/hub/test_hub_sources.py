"""Each kind of source, happy and broken, against a registry on localhost."""

import pytest
from hub_registry import ar_bytes, tar_bytes, zip_bytes
from hub_toys import catalog_of, debian, everything_under, npm, pypi

from unisono.errors import ChecksumError, DownloadError
from unisono.hub import QuietProgress, deb_files, fetch_file, fetch_model, fetch_part
from unisono.hub.sources_debian import apt_mirrors
from unisono.hub.sources_pypi import index_urls
from unisono.hub.transfer import Transfer, hide_credentials

HELLO = b"hello, weights " * 500
DEB_PATH = "/debian/pool/main/t/toy/toy_1.0-1_all.deb"


def test_local(tmp_path, no_network):
    (tmp_path / "here.bin").write_bytes(HELLO)
    source = {"kind": "local", "path": str(tmp_path / "here.bin")}
    folder = fetch_part("toy", catalog=catalog_of(a=(HELLO, [source])))
    assert (folder / "a").read_bytes() == HELLO


@pytest.mark.parametrize("html", [False, True])
def test_pypi(registry, html):
    registry.add_wheel("toy-weights", {"toy/data/w.bin": HELLO}, html=html)
    catalog = catalog_of(w__bin=(HELLO, [pypi(("Toy.Weights==1.0", "toy/data/w.bin"))]))
    assert fetch_file("toy", "w.bin", catalog=catalog).read_bytes() == HELLO


def test_pypi_joined_in_order_and_each_wheel_fetched_once(registry, tmp_path):
    first = registry.add_wheel("toy-1", {"t/p1": HELLO})
    second = registry.add_wheel("toy-2", {"t/p2": b"and the end", "t/config": b"{}"})
    both = pypi(("toy-1==1.0", "t/p1"), ("toy-2==1.0", "t/p2"))
    catalog = catalog_of(
        model=(HELLO + b"and the end", [both]), config=(b"{}", [pypi(("toy-2==1.0", "t/config"))])
    )
    folder = fetch_part("toy", catalog=catalog)
    assert (folder / "model").read_bytes() == HELLO + b"and the end"
    assert (registry.count(first), registry.count(second)) == (1, 1)
    left = everything_under(tmp_path / "cache")
    assert not [path for path in left if path.startswith("downloads")], "archives are deleted"


def test_pypi_takes_a_wheel_for_this_platform_and_no_other(registry):
    registry.add_wheel("toy", {"t": HELLO}, tag="cp27-cp27m-win32")
    catalog = catalog_of(t=(HELLO, [pypi(("toy==1.0", "t"))]))
    with pytest.raises(DownloadError, match=r"no wheel of toy==1\.0 for this machine"):
        fetch_part("toy", catalog=catalog)


def test_pypi_falls_back_on_the_extra_index(registry, monkeypatch):
    registry.add_wheel("toy", {"t": HELLO})
    monkeypatch.setenv("PIP_INDEX_URL", f"{registry.url}/empty")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", f"{registry.url}/simple")
    assert fetch_part("toy", catalog=catalog_of(t=(HELLO, [pypi(("toy==1.0", "t"))])))


def test_pypi_index_in_a_folder(tmp_path, no_network, monkeypatch):
    page = tmp_path / "simple" / "toy"
    page.mkdir(parents=True)
    (page / "index.html").write_text('<a href="../../toy-1.0-py3-none-any.whl">x</a>')
    (tmp_path / "toy-1.0-py3-none-any.whl").write_bytes(zip_bytes({"t": HELLO}))
    monkeypatch.setenv("PIP_INDEX_URL", (tmp_path / "simple").as_uri())
    assert fetch_part("toy", catalog=catalog_of(t=(HELLO, [pypi(("toy==1.0", "t"))])))


def test_pypi_settings_come_from_pips_own_file(tmp_path, monkeypatch):
    for variable in ("PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL"):
        monkeypatch.delenv(variable, raising=False)
    settings = tmp_path / "pip.conf"
    settings.write_text(
        "[global]\nindex-url = https://a.example/simple\nextra-index-url = file:///b"
    )
    monkeypatch.setenv("PIP_CONFIG_FILE", str(settings))
    assert index_urls()[:2] == ["https://a.example/simple", "file:///b"]
    monkeypatch.setenv("PIP_INDEX_URL", "https://c.example")
    monkeypatch.setenv("PIP_EXTRA_INDEX_URL", "")
    assert index_urls() == ["https://c.example"]


def test_pypi_wheel_that_is_not_what_the_index_says(registry):
    registry.add_wheel("toy", {"t": HELLO}, sha256="0" * 64)
    with pytest.raises(ChecksumError, match="other bytes than its own index says"):
        fetch_part("toy", catalog=catalog_of(t=(HELLO, [pypi(("toy==1.0", "t"))])))


def test_credentials_are_used_and_never_told(registry, monkeypatch):
    registry.add_wheel("toy", {"t": HELLO})
    index = f"http://ann:s%40cret@{registry.host}/simple"
    monkeypatch.setenv("PIP_INDEX_URL", index)
    catalog = catalog_of(t=(HELLO, [pypi(("toy==1.0", "t"))]))
    fetch_part("toy", catalog=catalog)
    assert set(registry.authorizations) == {"Basic YW5uOnNAY3JldA=="}
    missing = catalog_of(u=(HELLO, [pypi(("toy==2.0", "t"))]), v=(HELLO, [pypi(("no==1", "t"))]))
    with pytest.raises(DownloadError) as caught:
        fetch_part("toy", catalog=missing)
    assert registry.host in str(caught.value)
    assert "cret" not in str(caught.value)
    assert "ann" not in str(caught.value).replace("cannot", "")


def test_hide_credentials():
    assert (
        hide_credentials("at https://a:b@c/d and file:///x@y") == "at https://c/d and file:///x@y"
    )
    assert hide_credentials("npm @scope/x@1.0") == "npm @scope/x@1.0"


@pytest.mark.parametrize("packing", ["", ".gz", ".xz"])
def test_debian_member(registry, packing):
    registry.add_deb(
        DEB_PATH.removeprefix("/debian/"), {"./usr/a": b"x", "./usr/b": HELLO}, packing
    )
    catalog = catalog_of(b=(HELLO, [debian("usr/b")]))
    assert fetch_file("toy", "b", catalog=catalog).read_bytes() == HELLO


def test_debian_whole_package_can_be_read_as_a_stream(registry):
    package = registry.add_deb(DEB_PATH.removeprefix("/debian/"), {"./a": b"x", "./b": HELLO})
    path = fetch_file("toy", "toy.deb", catalog=catalog_of(toy__deb=(package, [debian()])))
    assert path.read_bytes() == package
    with deb_files(path) as archive:
        found = {info.name: archive.extractfile(info).read() for info in archive}
    assert found == {"./a": b"x", "./b": HELLO}


def test_debian_goes_on_to_the_next_archive(registry, monkeypatch):
    package = registry.add_deb("pool/main/t/toy/toy_1.0-1_all.deb", {"./b": HELLO})
    registry.files["/other" + DEB_PATH] = registry.files.pop(DEB_PATH)
    registry.files[DEB_PATH] = b"what a captive portal says"
    monkeypatch.setattr("unisono.hub.sources_debian.DEBIAN_ARCHIVE", f"{registry.url}/other/debian")
    assert fetch_part("toy", catalog=catalog_of(toy__deb=(package, [debian()])))


@pytest.mark.parametrize("package", ["toy", "@scope/toy"])
def test_npm(registry, package):
    tarball = registry.add_npm(package, "1.0.0", {"package/data.json": HELLO})
    catalog = catalog_of(
        data=(HELLO, [npm("package/data.json", package)]), tgz=(tarball, [npm(None, package)])
    )
    folder = fetch_part("toy", catalog=catalog)
    assert (folder / "data").read_bytes() == HELLO
    assert (folder / "tgz").read_bytes() == tarball


def test_sources_are_tried_in_order(registry):
    registry.add_wheel("toy", {"t": HELLO})
    sources = [
        {"kind": "local", "path": "/no/such"},
        pypi(("toy==9", "t")),
        pypi(("toy==1.0", "t")),
    ]
    assert fetch_part("toy", catalog=catalog_of(t=(HELLO, sources)))


def test_a_model_is_its_parts(registry):
    registry.add_wheel("toy", {"t": HELLO})
    catalog = catalog_of(t=(HELLO, [pypi(("toy==1.0", "t"))]))
    model = {"name": "m", "kind": "ola", "summary": "s", "licence": "MIT", "card": "c"}
    document = catalog.model_dump() | {"models": {"m": model | {"parts": {"voice": "toy"}}}}
    folders = fetch_model("m", catalog=type(catalog).model_validate(document))
    assert list(folders) == ["voice"]
    assert (folders["voice"] / "t").read_bytes() == HELLO


# --- what is wrong with archives -------------------------------------------------------------


@pytest.mark.parametrize("source", [pypi(("toy==1.0", "gone")), debian("gone"), npm("gone")])
def test_missing_member(registry, source):
    registry.add_wheel("toy", {"t": HELLO})
    registry.add_deb("pool/main/t/toy/toy_1.0-1_all.deb", {"./t": HELLO})
    registry.add_npm("toy", "1.0.0", {"t": HELLO})
    with pytest.raises(DownloadError, match=r"cannot fetch 't' of 'toy': .*has no member 'gone'"):
        fetch_part("toy", catalog=catalog_of(t=(HELLO, [source])))


def test_names_that_climb_are_only_names(registry, tmp_path):
    evil = "../../../evil"
    registry.add_wheel("toy", {evil: HELLO, "/abs": HELLO})
    registry.add_deb("pool/main/t/toy/toy_1.0-1_all.deb", {evil: HELLO})
    registry.add_npm("toy", "1.0.0", {evil: HELLO})
    sources = [pypi(("toy==1.0", evil)), debian(evil), npm(evil)]
    catalog = catalog_of(**{f"f{i}": (HELLO, [source]) for i, source in enumerate(sources)})
    fetch_part("toy", catalog=catalog)
    assert not list(tmp_path.rglob("evil"))
    parts = [name for name in everything_under(tmp_path / "cache") if name.startswith("parts")]
    assert parts == ["parts/toy/f0", "parts/toy/f1", "parts/toy/f2"]


BIG = "9" * 10


@pytest.mark.parametrize(
    ("package", "reason"),
    [
        (b"not an archive", "not a Debian package"),
        (b"", "not a Debian package"),
        (ar_bytes([("data.tar.xz", b"abc", BIG)]), "broken Debian package"),
        (ar_bytes([("junk", b"abc", BIG)]), "broken Debian package"),
        (ar_bytes([("data.tar.xz", b"abc", "-5")]), "broken Debian package"),
        (ar_bytes([("data.tar.xz", b"abc", "3")])[:40], "broken Debian package"),
        (ar_bytes([("debian-binary", b"2.0\n", "4")]), "has no data.tar"),
        (ar_bytes([("data.tar.xz", b"abcd", "4")]), "broken archive"),
        (ar_bytes([("data.tar.gz", b"abcd", "4")]), "broken archive"),
        (ar_bytes([("data.tar.rar", b"abcd", "4")]), "packed in a way"),
    ],
)
def test_broken_debian_packages(registry, package, reason):
    registry.files[DEB_PATH] = package
    with pytest.raises(DownloadError, match=reason):
        fetch_part("toy", catalog=catalog_of(t=(HELLO, [debian("t")])))


def test_broken_wheels_and_tarballs(registry):
    wheel = registry.add_wheel("toy", {"t": HELLO}, sha256="")
    registry.files[wheel] = registry.files[wheel][:-30]
    with pytest.raises(DownloadError, match="broken archive"):
        fetch_part("toy", catalog=catalog_of(t=(HELLO, [pypi(("toy==1.0", "t"))])))
    registry.files["/toy/1.0.0"] = f'{{"dist": {{"tarball": "{registry.url}/t.tgz"}}}}'.encode()
    for content in (b"", b"junk" * 1000, tar_bytes({"t": HELLO})[:700]):
        registry.files["/t.tgz"] = content
        with pytest.raises(DownloadError, match="broken archive"):
            fetch_part("toy", catalog=catalog_of(t=(HELLO, [npm("t")])))


@pytest.mark.parametrize("answer", [b"<html>log in</html>", b"[]", b'{"files": [1], "dist": 3}'])
def test_indexes_that_talk_nonsense(registry, answer):
    registry.files["/simple/toy/"] = registry.files["/toy/1.0.0"] = answer
    registry.content_types["/simple/toy/"] = "application/json"
    for source in (pypi(("toy==1.0", "t")), npm("t")):
        with pytest.raises(DownloadError, match="is not a"):
            fetch_part("toy", catalog=catalog_of(t=(HELLO, [source])))


def test_a_zip_bomb_stops_at_the_pinned_size(registry, tmp_path):
    registry.add_wheel("toy", {"t": bytes(50_000_000)})
    with pytest.raises(ChecksumError, match="more than the pinned 7500 bytes"):
        fetch_part("toy", catalog=catalog_of(t=(HELLO, [pypi(("toy==1.0", "t"))])))
    assert sum(p.stat().st_size for p in tmp_path.rglob("*") if p.is_file()) < 100_000


def test_apt_mirrors_in_both_formats(tmp_path):
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list").write_text(
        "# deb http://commented/debian bookworm main\n"
        "deb [arch=amd64 signed-by=/x] http://one/debian/ bookworm main contrib\n"
        "deb-src http://source/debian bookworm main\n"
        "deb cdrom:[Debian]/ bookworm main\n"
        "deb http://security/debian-security bookworm-security main\n"
    )
    (tmp_path / "sources.list.d" / "vendor.list").write_text(
        "deb https://vendor/linux/debian bookworm stable\n"
    )
    (tmp_path / "sources.list.d" / "debian.sources").write_text(
        "Types: deb deb-src\n# a remark\nURIs: https://two/debian\n http://three/debian\n"
        "Suites: bookworm\nComponents: main\nSigned-By:\n -----BEGIN\n .\n\n"
        "Types: deb\nEnabled: no\nURIs: http://off/debian\nComponents: main\n"
    )
    expected = ["http://one/debian/", "https://two/debian", "http://three/debian"]
    assert apt_mirrors(tmp_path) == expected
    assert apt_mirrors(tmp_path / "nothing") == []


def test_certificates_that_are_none_are_told(registry, tmp_path, monkeypatch):
    monkeypatch.setenv("PIP_CERT", str(tmp_path / "gone.pem"))
    told = pytest.raises(DownloadError, match=r"PIP_CERT is '.*gone\.pem', which holds no cert")
    with Transfer(tmp_path, QuietProgress()) as transfer, told:
        transfer.page(registry.url)
