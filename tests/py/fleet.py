"""Worlds with an organization, for the emulator."""

CALLER = "999900001111"
ENABLED = [
    "ap-northeast-1", "ap-northeast-2", "ap-south-1", "ap-southeast-1", "ap-southeast-2", "ca-central-1", "eu-central-1",
    "eu-west-1", "eu-west-2", "sa-east-1", "us-east-1", "us-east-2", "us-west-2",
]
DISABLED = ["af-south-1", "ap-east-1", "eu-south-1", "me-south-1"]


def account_id(n):
    return str(100000000000 + n)


def account(id, *, name=None, ou=None, state="ACTIVE", regions=ENABLED, disabled=DISABLED, role="CWLakeReader",
            external_id=None, instances=1, extra="", role_extra="", caller=CALLER):
    quoted = lambda codes: "[" + ", ".join(f'"{c}"' for c in codes) + "]"
    text = f'[[account]]\nid = "{id}"\nstate = "{state}"\ninstances = {instances}\n'
    text += f"regions = {quoted(regions)}\ndisabled_regions = {quoted(disabled)}\n"
    text += f'name = "{name}"\n' if name else ""
    text += f'ou = "{ou}"\n' if ou else ""
    text += extra
    if role:
        text += f'[[account.role]]\nname = "{role}"\ntrust = ["{caller}"]\n' + role_extra
        text += f'external_id = "{external_id}"\n' if external_id else ""
    return text


def units():
    """Root / Workloads / {Prod, Test}, and Sandbox."""
    unit = lambda id, name, parent: f'[[ou]]\nid = "{id}"\nname = "{name}"\n' + (f'parent = "{parent}"\n' if parent else "")
    return (
        unit("ou-emul-11111111", "Workloads", None)
        + unit("ou-emul-22222222", "Prod", "ou-emul-11111111")
        + unit("ou-emul-33333333", "Test", "ou-emul-11111111")
        + unit("ou-emul-44444444", "Sandbox", None)
    )


def world(accounts, extra=""):
    head = f'seed = 3\nnow = "2026-11-21T02:00:00Z"\n[organization]\nmanagement = "{CALLER}"\n'
    return head + units() + "".join(accounts) + extra
