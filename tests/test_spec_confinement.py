"""From options to `config.json`: what a container may do."""

from __future__ import annotations

import pytest
from configurations import Machine, annotation, document, mount_at, prepare
from pycontain import InvalidOption
from pycontain.runtime import confinement


def test_default_confinement() -> None:
    config = document()
    capabilities = config["process"]["capabilities"]
    assert set(capabilities) == {"bounding", "effective", "permitted"}
    assert capabilities["bounding"] == list(confinement.DEFAULT_CAPABILITIES)
    assert annotation(config, "seccomp") == "default"
    assert annotation(config, "privileged") is None
    assert "/proc/kcore" in config["linux"]["maskedPaths"]
    assert "/proc/sys" in config["linux"]["readonlyPaths"]
    assert config["linux"]["resources"]["devices"][0] == {"allow": False, "access": "rwm"}
    assert "ro" in mount_at(config, "/sys")["options"]
    assert "ro" in mount_at(config, "/sys/fs/cgroup")["options"]
    assert {"type": "user"} in config["linux"]["namespaces"]
    assert {"type": "time"} in config["linux"]["namespaces"]


def test_another_user_than_root_has_no_capabilities_in_effect() -> None:
    assert set(document(user="1000")["process"]["capabilities"]) == {"bounding"}
    assert set(document(user="1000", cap_add=["ALL"])["process"]["capabilities"]) == {"bounding"}


def test_privileged() -> None:
    config = document(privileged=True)
    assert config["process"]["capabilities"]["effective"] == list(confinement.CAPABILITIES)
    assert annotation(config, "privileged") == "true"
    assert annotation(config, "seccomp") is None
    assert "maskedPaths" not in config["linux"]
    assert config["linux"]["resources"]["devices"] == [{"allow": True, "access": "rwm"}]
    assert "ro" not in mount_at(config, "/sys")["options"]
    assert {"type": "user"} not in config["linux"]["namespaces"]


def test_security_options_take_effect() -> None:
    host = Machine({"/p.json": '{"defaultAction":"SCMP_ACT_ALLOW"}', "/bad.json": "{"})
    config = document(security_opt=["no-new-privileges", "systempaths=unconfined"])
    assert config["process"]["noNewPrivileges"] is True
    assert "maskedPaths" not in config["linux"]
    assert annotation(document(security_opt=["seccomp=unconfined"]), "seccomp") is None
    assert (
        annotation(document(host=host, security_opt=["seccomp=/p.json"]), "seccomp") == host.files["/p.json"]
    )
    assert "ro" not in mount_at(document(security_opt=["writable-cgroups=true"]), "/sys/fs/cgroup")["options"]
    with pytest.raises(InvalidOption, match="not JSON"):
        prepare(host=host, security_opt=["seccomp=/bad.json"])


def test_devices_are_made_and_allowed() -> None:
    config = document(devices=["/dev/fuse:/dev/f:rw"], device_cgroup_rules=["c 42:* r"])
    number = {"type": "c", "major": 8, "minor": 16, "fileMode": 0o660, "uid": 0, "gid": 6}
    assert config["linux"]["devices"] == [{"path": "/dev/f", "hostPath": "/dev/fuse", **number}]
    assert config["linux"]["resources"]["devices"][-2:] == [
        {"allow": True, "type": "c", "major": 8, "minor": 16, "access": "rw"},
        {"allow": True, "type": "c", "major": 42, "access": "r"},
    ]
