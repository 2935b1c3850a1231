"""The model of a run becomes the weights of the package: half as large, perhaps blended."""

import torch
from safetensors.torch import load_file

from modeling_chromagan import ChromaGANGenerator, ChromaGANImageProcessor
from modeling_chromagan.training.run import release


def test_packaged_weights_are_half_as_large_and_give_the_same_colors(finished_run, tmp_path):
    assert release.main([str(finished_run / "model"), str(tmp_path / "out"), "--working-size", "96"]) == 0
    files = sorted(str(path.relative_to(tmp_path / "out")) for path in (tmp_path / "out").rglob("*") if path.is_file())
    weights = ["critic/model.safetensors", "model.safetensors"]
    assert files == sorted(["config.json", "critic/config.json", "preprocessor_config.json", *weights])
    for file in weights:
        for name, tensor in load_file(tmp_path / "out" / file).items():
            exact = name.endswith(("running_mean", "running_var"))
            assert tensor.dtype in ({torch.float32} if exact else {torch.float16, torch.int64}), name
    assert ChromaGANImageProcessor.from_pretrained(tmp_path / "out").size["shortest_edge"] == 96
    luminance = torch.rand(1, 1, 32, 32)
    models = [ChromaGANGenerator.from_pretrained(at) for at in (finished_run / "model", tmp_path / "out")]
    assert {parameter.dtype for parameter in models[1].parameters()} == {torch.float32}
    results = [model.eval()(luminance).reconstruction for model in models]
    torch.testing.assert_close(*results, atol=2e-3, rtol=0)


def test_packaging_a_folder_without_a_model_is_one_line(tmp_path, capsys):
    assert release.main([str(tmp_path), str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err.count("\n") == 1


def test_blending_moves_the_weights_the_given_share_of_the_way(finished_run, tmp_path, capsys):
    source, other = finished_run / "model", finished_run / "model-color"
    assert release.main([str(source), str(tmp_path / "out"), "--blend", str(other), "0.25"]) == 0
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (source, other))
    blended = load_file(tmp_path / "out" / "model.safetensors")
    for name in ("network.chroma.weight", "network.trunk.0.conv1_1.norm.running_var"):
        assert not torch.equal(ours[name], theirs[name])
        torch.testing.assert_close(
            blended[name].float(), 0.75 * ours[name] + 0.25 * theirs[name], atol=1e-3, rtol=1e-3
        )
    halves = ["--blend", str(other), "0.125", "--blend", str(other), "0.125"]
    assert release.main([str(source), str(tmp_path / "twice"), *halves]) == 0
    twice = load_file(tmp_path / "twice" / "model.safetensors")
    torch.testing.assert_close(twice["network.chroma.weight"], blended["network.chroma.weight"], atol=1e-3, rtol=1e-3)
    assert release.main([str(source), str(tmp_path / "out"), "--blend", str(other), "1.5"]) == 1
    assert "share is 1.5" in capsys.readouterr().err
