#!/usr/bin/python3
"""Write the small models of this folder. Each one exists for a single trait.

It needs Debian's python3-onnx:

    /usr/bin/python3 models.py

Nothing in it is random: running it again gives the same bytes.
"""

import pathlib

import numpy as np
from onnx import TensorProto, helper, numpy_helper

HERE = pathlib.Path(__file__).resolve().parent
UNKNOWN_RANK = None

# The eleven element types that can travel, by the names they have on the wire.
TYPES = {
    "F32": TensorProto.FLOAT,
    "F64": TensorProto.DOUBLE,
    "I32": TensorProto.INT32,
    "I64": TensorProto.INT64,
    "U32": TensorProto.UINT32,
    "U64": TensorProto.UINT64,
    "U8": TensorProto.UINT8,
    "U16": TensorProto.UINT16,
    "I8": TensorProto.INT8,
    "I16": TensorProto.INT16,
    "Bool": TensorProto.BOOL,
}


def value(name, elem, shape):
    return helper.make_tensor_value_info(name, elem, shape)


def write(name, nodes, inputs, outputs, initializers=()):
    model = helper.make_model(
        helper.make_graph(nodes, name, inputs, outputs, list(initializers)),
        opset_imports=[helper.make_opsetid("", 13)],
        producer_name="blindai inference/testdata",
    )
    model.ir_version = 8
    (HERE / f"{name}.onnx").write_bytes(model.SerializeToString())


def identities(name, shape):
    """One input and one output of each element type, handed through unchanged."""
    write(
        name,
        [helper.make_node("Identity", [f"in_{t}"], [f"out_{t}"]) for t in TYPES],
        [value(f"in_{t}", e, shape) for t, e in TYPES.items()],
        [value(f"out_{t}", e, shape) for t, e in TYPES.items()],
    )


def reshape(name, declared):
    """An output whose rank only the run decides, whatever the file declares."""
    write(
        name,
        [
            helper.make_node("Reshape", ["data", "shape"], ["reshaped"]),
            helper.make_node("Neg", ["data"], ["negative"]),
        ],
        [value("data", TensorProto.FLOAT, ["N"]), value("shape", TensorProto.INT64, ["R"])],
        [
            value("reshaped", TensorProto.FLOAT, declared),
            value("negative", TensorProto.FLOAT, ["N"]),
        ],
    )


def slow():
    """Multiply a matrix with itself as often as asked: a run that takes its time."""
    body = helper.make_graph(
        [
            helper.make_node("Identity", ["go_on"], ["go_on_out"]),
            helper.make_node("MatMul", ["state", "matrix"], ["state_out"]),
        ],
        "body",
        [
            value("i", TensorProto.INT64, []),
            value("go_on", TensorProto.BOOL, []),
            value("state", TensorProto.FLOAT, [128, 128]),
        ],
        [
            value("go_on_out", TensorProto.BOOL, []),
            value("state_out", TensorProto.FLOAT, [128, 128]),
        ],
    )
    eye = np.eye(128, dtype=np.float32)
    write(
        "slow",
        [
            helper.make_node("Loop", ["times", "", "matrix"], ["product"], body=body),
            helper.make_node("ReduceSum", ["product"], ["sum"], keepdims=0),
        ],
        [value("times", TensorProto.INT64, [])],
        [value("sum", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(eye, name="matrix")],
    )


def external():
    """A model that asks its engine to read a file of the machine it runs on."""
    weight = numpy_helper.from_array(np.ones(2, dtype=np.float32), name="weight")
    weight.ClearField("raw_data")
    weight.data_location = TensorProto.EXTERNAL
    for key, text in [("location", "weights.bin"), ("offset", "0"), ("length", "8")]:
        entry = weight.external_data.add()
        entry.key, entry.value = key, text
    ends = [value("x", TensorProto.FLOAT, [2])], [value("y", TensorProto.FLOAT, [2])]
    write("external", [helper.make_node("Add", ["x", "weight"], ["y"])], *ends, [weight])
    # The same, hidden in a branch.
    branches = {
        side: helper.make_graph(
            [
                helper.make_node("Constant", [], ["weight"], value=weight),
                helper.make_node("Add", ["x", "weight"], ["sum"]),
            ],
            side,
            [],
            [value("sum", TensorProto.FLOAT, [2])],
        )
        for side in ("then_branch", "else_branch")
    }
    write(
        "external_inside",
        [
            helper.make_node("Constant", [], ["yes"], value=numpy_helper.from_array(np.array(True))),
            helper.make_node("If", ["yes"], ["y"], **branches),
        ],
        *ends,
    )


def main():
    # The original's own smoke model subtracts two scalars like this one.
    write(
        "subtract",
        [helper.make_node("Sub", ["minuend", "subtrahend"], ["difference"])],
        [value("minuend", TensorProto.INT64, []), value("subtrahend", TensorProto.INT64, [])],
        [value("difference", TensorProto.INT64, [])],
    )
    identities("vectors", ["N"])
    identities("scalars", [])
    reshape("any_rank", UNKNOWN_RANK)
    reshape("says_scalar", [])
    reshape("says_vector", [1])
    slow()
    external()
    # Older files list their weights among the inputs, too.
    write(
        "listed_weight",
        [helper.make_node("Add", ["x", "weight"], ["y"])],
        [value("x", TensorProto.FLOAT, ["N", 2]), value("weight", TensorProto.FLOAT, [2])],
        [value("y", TensorProto.FLOAT, ["N", 2])],
        [numpy_helper.from_array(np.array([1, 2], dtype=np.float32), name="weight")],
    )
    # Fails while it runs: the index is checked by the engine only.
    write(
        "pick",
        [helper.make_node("Gather", ["table", "index"], ["picked"])],
        [value("index", TensorProto.INT64, [])],
        [value("picked", TensorProto.FLOAT, [])],
        [numpy_helper.from_array(np.array([3, 5, 7], dtype=np.float32), name="table")],
    )
    write(
        "half",
        [helper.make_node("Cast", ["x"], ["y"], to=TensorProto.FLOAT16)],
        [value("x", TensorProto.FLOAT, ["N"])],
        [value("y", TensorProto.FLOAT16, ["N"])],
    )
    write(
        "sequence",
        [helper.make_node("SplitToSequence", ["x"], ["parts"])],
        [value("x", TensorProto.FLOAT, [2])],
        [helper.make_tensor_sequence_value_info("parts", TensorProto.FLOAT, None)],
    )
    write(
        "no_input",
        [helper.make_node("Identity", ["weight"], ["y"])],
        [],
        [value("y", TensorProto.FLOAT, [2])],
        [numpy_helper.from_array(np.ones(2, dtype=np.float32), name="weight")],
    )


if __name__ == "__main__":
    main()
