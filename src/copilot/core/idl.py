"""The only importer of Flyte's generated messages. Everybody else says ``from copilot.core import idl``.

Only the small ``core`` modules are imported (10 to 17 ms); the ``workflow`` and ``task`` packages and every ``*_connect``
module cost up to 1.7 s and belong to ``control_plane`` alone.
"""

from __future__ import annotations

from flyteidl2.core.execution_pb2 import ContainerError, ErrorDocument, ExecutionError
from flyteidl2.core.interface_pb2 import TypedInterface, Variable, VariableMap
from flyteidl2.core.literals_pb2 import (
    Binary,
    Blob,
    BlobMetadata,
    Literal,
    LiteralCollection,
    LiteralMap,
    LiteralOffloadedMetadata,
    Primitive,
    Scalar,
    Schema,
    StructuredDataset,
    StructuredDatasetMetadata,
    Union,
    Void,
)
from flyteidl2.core.types_pb2 import (
    BlobType,
    EnumType,
    Error,
    LiteralType,
    SchemaType,
    SimpleType,
    StructuredDatasetType,
    UnionType,
)
from google.protobuf.message import DecodeError
from google.protobuf.struct_pb2 import ListValue, Struct, Value

__all__ = [
    "Binary",
    "Blob",
    "BlobMetadata",
    "BlobType",
    "ContainerError",
    "DecodeError",
    "EnumType",
    "Error",
    "ErrorDocument",
    "ExecutionError",
    "ListValue",
    "Literal",
    "LiteralCollection",
    "LiteralMap",
    "LiteralOffloadedMetadata",
    "LiteralType",
    "Primitive",
    "Scalar",
    "Schema",
    "SchemaType",
    "SimpleType",
    "Struct",
    "StructuredDataset",
    "StructuredDatasetMetadata",
    "StructuredDatasetType",
    "TypedInterface",
    "Union",
    "UnionType",
    "Value",
    "Variable",
    "VariableMap",
    "Void",
]
