#!/usr/bin/env python3
"""Talk to a running daemon with NVIDIA's `tritonclient`, unmodified, as its users do.

Usage: check_tritonclient.py HOST:PORT. The daemon serves the fixture `add_sub_int32`, or `identity_bytes`, under its own
name. Exits 0 where everything was answered right; a failed assertion says where not.
"""

import asyncio
import sys

import numpy as np
import tritonclient.http as sync
import tritonclient.http.aio as aio
from tritonclient.utils import InferenceServerException

A = np.arange(32, dtype=np.int32).reshape(2, 16)
B = np.full((2, 16), 7, np.int32)
CODINGS = (None, "gzip", "deflate")


def numbers(client, binary):
    """Make the inputs and the wanted outputs of `add_sub_int32`."""
    inputs = [client.InferInput("a", [2, 16], "INT32"), client.InferInput("b", [2, 16], "INT32")]
    inputs[0].set_data_from_numpy(A, binary_data=binary)
    inputs[1].set_data_from_numpy(B, binary_data=not binary)
    outputs = [client.InferRequestedOutput("difference", binary_data=binary),
               client.InferRequestedOutput("sum", binary_data=not binary)]
    return inputs, outputs


def check_numbers(result):
    """Ask that sum and difference are right."""
    assert np.array_equal(result.as_numpy("sum"), A + B), result.get_response()
    assert np.array_equal(result.as_numpy("difference"), A - B), result.get_response()


def check_state(client, model):
    """Health, metadata, configuration, statistics, and the repository."""
    assert client.is_server_live() and client.is_server_ready()
    assert client.is_model_ready(model) and client.is_model_ready(model, "1")
    assert not client.is_model_ready("other")
    assert client.get_server_metadata()["name"] == "edge-service"
    metadata = client.get_model_metadata(model, "1")
    assert metadata["name"] == model and metadata["versions"] == ["1"]
    config = client.get_model_config(model)
    assert [item["name"] for item in config["input"]] == [item["name"] for item in metadata["inputs"]]
    assert client.get_model_repository_index() == [{"name": model, "version": "1", "state": "READY"}]
    assert len(client.get_inference_statistics(model)["model_stats"]) == 1
    assert len(client.get_inference_statistics()["model_stats"]) == 1


def check_repository(client, model):
    """Unload, load, and what is refused."""
    client.unload_model(model)
    assert not client.is_model_ready(model) and client.is_server_live()
    client.load_model(model)
    assert client.is_model_ready(model)
    for call in (client.load_model, client.get_model_metadata):
        try:
            call("other")
            raise AssertionError("an unknown model was found")
        except InferenceServerException as error:
            assert error.status() == "404" or "404" in str(error.status()), error.status()
            assert error.message().startswith("Request for unknown model"), error


def check_add_sub(client, model):
    """Infer in JSON and in binary, waiting and not, with every compression."""
    for binary in (True, False):
        for up in CODINGS:
            for down in CODINGS:
                inputs, outputs = numbers(sync, binary)
                how = {"request_compression_algorithm": up, "response_compression_algorithm": down, "request_id": "r7"}
                result = client.infer(model, inputs, outputs=outputs, **how)
                check_numbers(result)
                assert result.get_response()["id"] == "r7"
                check_numbers(client.async_infer(model, inputs, outputs=outputs, **how).get_result())
    inputs, _ = numbers(sync, True)
    check_numbers(client.infer(model, inputs, model_version="1", timeout=10_000_000, parameters={"mine": "ignored"}))
    pending = [client.async_infer(model, inputs) for _ in range(50)]
    for request in pending:
        check_numbers(request.get_result())
    classes = client.infer(model, inputs, outputs=[sync.InferRequestedOutput("sum", class_count=2)])
    assert classes.as_numpy("sum").tolist() == [[b"22:15", b"21:14"], [b"38:15", b"37:14"]], classes.as_numpy("sum")
    try:
        client.infer(model, inputs[:1])
        raise AssertionError("one input of two was enough")
    except InferenceServerException as error:
        assert "expected 2 inputs but got 1" in error.message(), error
    entry = client.get_inference_statistics(model)["model_stats"][0]
    assert entry["execution_count"] == 88 and entry["inference_count"] == 176, entry
    assert entry["inference_stats"]["fail"]["count"] == 1, entry


def check_strings(client, model):
    """Strings, with everything that a string may hold."""
    texts = np.array(["", "plain", "Größe 😀", "nul \0 within"], dtype=object)
    for binary in (True, False):
        item = sync.InferInput("x", [4], "BYTES")
        item.set_data_from_numpy(texts, binary_data=binary)
        for output in (True, False):
            result = client.infer(model, [item], outputs=[sync.InferRequestedOutput("y", binary_data=output)])
            got = [text if isinstance(text, str) else text.decode() for text in result.as_numpy("y")]
            assert got == texts.tolist(), got
    item = sync.InferInput("x", [2], "BYTES")
    item.set_data_from_numpy(np.array([b"\xff\x00\xfe", b""], dtype=object))
    assert client.infer(model, [item]).as_numpy("y").tolist() == [b"\xff\x00\xfe", b""]


async def check_aio(address, model):
    """The same by asyncio, which has a client of its own."""
    async with aio.InferenceServerClient(address) as client:
        assert await client.is_server_live() and await client.is_server_ready() and await client.is_model_ready(model)
        assert (await client.get_model_metadata(model))["name"] == model
        assert (await client.get_server_metadata())["name"] == "edge-service"
        if model != "add_sub_int32":
            return
        for coding in CODINGS:
            inputs, outputs = numbers(aio, True)
            calls = [client.infer(model, inputs, outputs=outputs, request_compression_algorithm=coding,
                                  response_compression_algorithm=coding) for _ in range(8)]
            for result in await asyncio.gather(*calls):
                check_numbers(result)
            try:
                await client.infer(model, inputs[:1], response_compression_algorithm=coding)
                raise AssertionError("one input of two was enough")
            except InferenceServerException as error:
                assert "expected 2 inputs but got 1" in error.message(), error


def main():
    """Check the model that is there."""
    address = sys.argv[1]
    client = sync.InferenceServerClient(address, concurrency=4, connection_timeout=30, network_timeout=30)
    model = client.get_model_repository_index()[0]["name"]
    check_state(client, model)
    if model == "add_sub_int32":
        check_add_sub(client, model)
    else:
        check_strings(client, model)
    check_repository(client, model)
    asyncio.run(check_aio(address, model))
    client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
