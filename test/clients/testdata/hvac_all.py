# Every method of hvac's kv.v2 and kv.v1 but those of Vault's own settings for KV version 2.
import os

import hvac
from hvac.exceptions import InvalidPath, InvalidRequest

client = hvac.Client(url=os.environ["VAULT_ADDR"], token=os.environ["VAULT_TOKEN"])
mount = {"mount_point": "abeja"}


def refused(error, call, **args):
    try:
        call(**args, **mount)
    except error:
        return
    raise AssertionError("%s was to be refused with %s: %s" % (call.__name__, error.__name__, args))


v2 = client.secrets.kv.v2
name = {"path": "hvac_v2"}


def data(version=None):
    return v2.read_secret_version(version=version, **name, **mount)["data"]["data"]


refused(InvalidPath, v2.read_secret_version, **name)
made = v2.create_or_update_secret(secret={"user": "app", "port": 5432, "tls": True}, cas=0, **name, **mount)
assert made["data"]["version"] == 1, made
assert data() == {"user": "app", "port": 5432, "tls": True}
assert v2.read_secret(**name, **mount)["data"]["metadata"]["version"] == 1
refused(InvalidRequest, v2.create_or_update_secret, secret={"user": "other"}, cas=0, **name)

assert v2.patch(secret={"user": "web"}, **name, **mount)["data"]["version"] == 2
assert data() == {"user": "web", "port": 5432, "tls": True}
assert data(version=1)["user"] == "app"
assert v2.create_or_update_secret(secret={"value": "text"}, cas=2, **name, **mount)["data"]["version"] == 3

v2.delete_latest_version_of_secret(**name, **mount)
refused(InvalidPath, v2.read_secret_version, **name)
refused(InvalidPath, v2.patch, secret={"user": "web"}, **name)
v2.undelete_secret_versions(versions=[3], **name, **mount)
assert data() == {"value": "text"}
v2.delete_secret_versions(versions=[1, 2], **name, **mount)
refused(InvalidPath, v2.read_secret_version, version=1, **name)
v2.undelete_secret_versions(versions=[1], **name, **mount)
assert data(version=1)["user"] == "app"
v2.destroy_secret_versions(versions=[1], **name, **mount)
refused(InvalidPath, v2.read_secret_version, version=1, **name)

metadata = v2.read_secret_metadata(**name, **mount)["data"]
assert metadata["current_version"] == 3, metadata
assert metadata["versions"]["1"]["destroyed"], metadata
assert metadata["versions"]["2"]["deletion_time"], metadata
assert not metadata["versions"]["3"]["deletion_time"], metadata
v2.update_metadata(max_versions=0, cas_required=False, **name, **mount)
refused(InvalidRequest, v2.update_metadata, max_versions=5, **name)
refused(InvalidRequest, v2.update_metadata, delete_version_after="1h", **name)
assert "hvac_v2" in v2.list_secrets(path="", **mount)["data"]["keys"]
v2.delete_metadata_and_all_versions(**name, **mount)
refused(InvalidPath, v2.read_secret_metadata, **name)

v1 = client.secrets.kv.v1
name = {"path": "secrets/hvac_v1"}
refused(InvalidPath, v1.read_secret, **name)
v1.create_or_update_secret(secret={"value": "first"}, **name, **mount)
v1.create_or_update_secret(secret={"value": "second"}, **name, **mount)
assert v1.read_secret(**name, **mount)["data"]["value"] == "second"
v1.create_or_update_secret(secret={"value": "third"}, method="PUT", **name, **mount)
assert v1.read_secret(**name, **mount)["data"]["version"] == 3
assert "hvac_v1" in v1.list_secrets(path="secrets", **mount)["data"]["keys"]
v1.delete_secret(**name, **mount)
refused(InvalidPath, v1.read_secret, **name)
