#!/usr/bin/python3
"""Write the .npy files of this folder with numpy itself, so that the reader is tested against the
format and not against our writer. Needs Debian's python3-numpy.
"""

import pathlib

import numpy as np
from numpy.lib import format

HERE = pathlib.Path(__file__).resolve().parent
TYPES = "f4 f8 i4 i8 u4 u8 u1 u2 i1 i2".split()


def save(name, array, version=None):
    with open(HERE / f"{name}.npy", "wb") as file:
        if version:
            format.write_array(file, array, version=version)
        else:
            np.save(file, array)


def main():
    count = np.arange(6).reshape(2, 3)
    for name in TYPES:
        save(name, count.astype(name))
    save("b1", count % 2 == 1)
    save("scalar", np.array(42, dtype=np.int64))
    save("scalar_bool", np.array(True))
    save("vector", np.arange(3, dtype=np.float32))
    save("empty", np.zeros((0, 3), dtype=np.float32))
    save("big_endian", count.astype(">i4"))
    save("fortran", np.asfortranarray(count.astype("f8")))
    save("fortran_cube", np.asfortranarray(np.arange(24, dtype=">u2").reshape(2, 3, 4)))
    save("version2", count.astype("f4"), version=(2, 0))
    save("version3", count.astype("f4"), version=(3, 0))
    save("half", count.astype("f2"))
    save("text", np.array(["a", "b"]))
    save("complex", count.astype("c8"))
    save("record", np.zeros(2, dtype=[("x", "f4"), ("y", "i4")]))
    save("object", np.array([{"a": 1}], dtype=object))


if __name__ == "__main__":
    main()
