"""The small real set of the system's packages: what is taken is said, and all of it can be read. Skipped where packages are missing."""

import pytest

from nmm.cli import main
from nmm.data.corpus import store, system
from nmm.data.corpus.factors import factors
from nmm.data.corpus.prepare import prepare
from nmm.data.corpus.system import TAKEN, Taken, missing, said, write_system_examples


def test_what_is_missing_is_named_with_its_package(tmp_path, monkeypatch):
    absent = Taken("no-such-package", "sounds", "none", str(tmp_path / "none")), Taken("other", "x", "y", "no-such-program")
    monkeypatch.setattr(system, "TAKEN", absent)
    with pytest.raises(ValueError, match="no sounds .*, no x .*: apt-get install no-such-package other"):
        write_system_examples(tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_every_licence_is_said():
    assert len(said()) == len(TAKEN) and all(each.licence in line for each, line in zip(TAKEN, said(), strict=True))


@pytest.mark.slow
def test_the_set_is_read_whole(tmp_path, monkeypatch, capsys):
    if lacks := missing():
        pytest.skip(f"packages are missing: apt-get install {' '.join(each.package for each in lacks)}")
    for name, few in (("SPOKEN", 12), ("FILMED", 8), ("SHOWN", 30)):
        monkeypatch.setattr(system, name, few)
    assert main(["data", "system", str(tmp_path / "set")]) == 0
    told = capsys.readouterr().out
    assert all(each.package in told for each in TAKEN) and "data prepare" in told
    assert (tmp_path / "set" / "LICENCES.txt").read_text().count("\n") == len(TAKEN)
    kinds = ("caption", "text", "audio", "video")
    sources = [(kind, tmp_path / "set" / kind) for kind in kinds]
    report = prepare(sources, tmp_path / "corpus", context=256, image_size=32, patch=8, vocab_size=400, max_rejects=0.2, processes=1,
                     progress=False)["sources"]
    assert report["caption"]["documents"] == 30 and report["video"]["documents"] == 8 and report["audio"]["documents"] > 40
    assert not any(source["rejected"] for source in report.values()), {name: source["rejected"] for name, source in report.items()}
    own = [each for each in factors(store.open(tmp_path / "corpus")) if each.own]
    assert {each.modality for each in own} == {"text", "image", "audio", "video"} and all(each.ratio > 1 for each in own)
