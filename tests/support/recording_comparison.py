"""Compares a body with a recorded one: keys at every depth, types, and all values but ids, times, keys and media."""

import re
from typing import Any

VOLATILE = {
    "id", "hash", "base64", "code", "pairingCode", "instanceId", "createdAt", "updatedAt", "messageTimestamp",
    "messageTimestampMs", "timestampMs", "senderTimestampMs", "disconnectionAt", "disconnectionObject",
    "register_url", "instance_id", "docs_url", "messageId", "token",
}  # fmt: skip


def differences(expected: Any, actual: Any, path: str = "") -> list[str]:
    """Return the differences by path; volatile values are compared by type alone."""
    name = re.sub(r"(\[\d+\])+$", "", path.rpartition(".")[2])
    if isinstance(expected, dict) and isinstance(actual, dict):
        if expected and all(key.isdigit() for key in expected):  # bytes: as many as they happen to be
            return [] if actual and all(key.isdigit() for key in actual) else [f"{path}: not bytes"]
        result = [f"{path}.{key}: missing" for key in expected if key not in actual]
        result += [f"{path}.{key}: too much" for key in actual if key not in expected]
        for key in expected:
            if key in actual:
                result += differences(expected[key], actual[key], f"{path}.{key}")
        return result
    if isinstance(expected, list) and isinstance(actual, list):
        if len(expected) != len(actual):
            return [f"{path}: {len(expected)} elements expected, {len(actual)} found"]
        result = []
        for position, (left, right) in enumerate(zip(expected, actual, strict=True)):
            result += differences(left, right, f"{path}[{position}]")
        return result
    if type(expected) is not type(actual):
        return [f"{path}: {expected!r} expected, {actual!r} found"]
    inside_volatile = name in VOLATILE or ".mediaKeyTimestamp." in path or ".ephemeralSetting" in path
    if name == "low" or inside_volatile or expected == actual:
        return []
    return [f"{path}: {expected!r} expected, {actual!r} found"]
