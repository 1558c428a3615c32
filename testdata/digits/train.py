#!/usr/bin/python3
"""Train the digits model and write everything else in this folder but README.md.

It needs Debian's python3-sklearn and python3-onnx:

    /usr/bin/python3 train.py

Running it again on the same packages gives the same bytes: the seed is fixed, the data
is never shuffled by anything else, and BLAS is held to one thread, because the order of
its sums depends on their number.
"""

import os

os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ["OMP_NUM_THREADS"] = "1"

import json
import pathlib

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.neural_network import MLPClassifier

SEED = 1998  # the year in which the data set was donated
HELD_OUT = 360
HIDDEN = 64
HERE = pathlib.Path(__file__).resolve().parent


def train(images, labels):
    """Return weights and biases of a 64-64-10 network on pixels scaled to 0..1."""
    net = MLPClassifier(
        hidden_layer_sizes=(HIDDEN,), alpha=1e-3, max_iter=300, random_state=SEED
    )
    net.fit(images.astype(np.float64) / 16, labels)
    return (
        [w.astype(np.float32) for w in net.coefs_],
        [b.astype(np.float32) for b in net.intercepts_],
    )


def predict(weights, biases, images):
    """Compute in float32 and in numpy what the graph below computes."""
    x = images / np.float32(16)
    x = np.maximum(x @ weights[0] + biases[0], np.float32(0))
    return (x @ weights[1] + biases[1]).argmax(axis=1)


def graph(weights, biases):
    """Build the model: raw pixels 0..16 in, the digit and ten probabilities out."""
    constants = {
        "white": np.array(16, dtype=np.float32),
        "hidden_weight": weights[0],
        "hidden_bias": biases[0],
        "digit_weight": weights[1],
        "digit_bias": biases[1],
    }
    nodes = [
        helper.make_node("Div", ["image", "white"], ["scaled"]),
        helper.make_node("Gemm", ["scaled", "hidden_weight", "hidden_bias"], ["hidden"]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("Gemm", ["active", "digit_weight", "digit_bias"], ["logits"]),
        helper.make_node("Softmax", ["logits"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["logits"], ["digit"], axis=1, keepdims=0),
    ]
    model = helper.make_model(
        helper.make_graph(
            nodes,
            "digits",
            [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["N", 64])],
            [
                helper.make_tensor_value_info("digit", TensorProto.INT64, ["N"]),
                helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 10]),
            ],
            [numpy_helper.from_array(v, name=k) for k, v in constants.items()],
        ),
        opset_imports=[helper.make_opsetid("", 13)],
        producer_name="blindai testdata/digits",
    )
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def main():
    digits = load_digits()
    images = digits.data.astype(np.float32)
    labels = digits.target.astype(np.int64)
    train_x, test_x, train_y, test_y = train_test_split(
        images, labels, test_size=HELD_OUT, random_state=SEED, stratify=labels
    )
    weights, biases = train(train_x, train_y)
    correct = int((predict(weights, biases, test_x) == test_y).sum())

    (HERE / "digits.onnx").write_bytes(graph(weights, biases).SerializeToString())
    np.save(HERE / "images.npy", np.ascontiguousarray(test_x))
    np.save(HERE / "labels.npy", np.ascontiguousarray(test_y))
    report = {
        "data_set": "Optical Recognition of Handwritten Digits, UCI, as in sklearn.datasets.load_digits",
        "seed": SEED,
        "trained_on": len(train_y),
        "held_out": len(test_y),
        "correct": correct,
        "accuracy": round(correct / len(test_y), 6),
    }
    (HERE / "report.json").write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report))


if __name__ == "__main__":
    main()
