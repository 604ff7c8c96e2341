# Copyright: (c) 2026, dockyard.fleet contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The data of the stack `inventory`: what must hold for every release of it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import jinja2
import pytest
import yaml

ROOT = Path(__file__).resolve().parents[3]
STACK = ROOT / "files" / "stacks" / "inventory"
STAND_IN = ROOT / "tests" / "apps" / "inventory"
ENVIRONMENTS = ("development", "staging", "production", "offline")
INTERPOLATION = re.compile(r"\$\{([A-Z][A-Z0-9_]*)(?::-([^}]*))?\}")


def mounts(service):
    """(source, target) of each mount of a service, bind mounts and volumes alike."""
    for entry in service["volumes"]:
        yield (entry["source"], entry["target"]) if isinstance(entry, dict) else tuple(entry.split(":")[:2])


def load(name):
    return yaml.safe_load((STACK / name).read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def stack():
    return load("stack.yml")


@pytest.fixture(scope="module")
def compose():
    return load("compose.yaml")


def render(stack, **settings):
    """nginx.conf as the controller renders it."""
    values = {name: setting["default"] for name, setting in stack["settings"].items()}
    values.update(settings)
    environment = jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False)
    return environment.from_string((STACK / "nginx" / "nginx.conf").read_text(encoding="utf-8")).render(
        settings=values, stack=stack, environment="production", host={})


def test_stack_fits_the_schema(stack):
    from ansible_collections.dockyard.fleet.plugins.module_utils.stacks import schema
    published = json.loads((ROOT / "files" / "schemas" / "stack.schema.json").read_text(encoding="utf-8"))
    assert schema.validate(stack, published) == []


def test_source_is_pinned_to_a_whole_commit(stack):
    assert re.fullmatch(r"[0-9a-f]{40}", stack["source"]["ref"])


def test_every_service_has_an_image_definition_and_the_same_reference(stack, compose):
    assert set(compose["services"]) == set(stack["images"])
    for service, image in stack["images"].items():
        variable, default = INTERPOLATION.fullmatch(compose["services"][service]["image"]).groups()
        assert variable == service.upper() + "_IMAGE"
        if "pull" in image:
            assert default == image["pull"]["image"]


def test_no_image_floats(stack, compose):
    references = [image["pull"]["image"] for image in stack["images"].values() if "pull" in image]
    references += re.findall(r"^FROM (\S+)", (STACK / "app" / "Dockerfile").read_text(encoding="utf-8"), re.M)
    assert len(references) == 5
    for reference in references:
        name, _colon, tag = reference.rpartition(":")
        assert name and tag and tag != "latest", reference


def test_client_programs_come_from_the_image_of_the_server(stack):
    dockerfile = (STACK / "app" / "Dockerfile").read_text(encoding="utf-8")
    assert "FROM %s AS pgclient" % stack["images"]["db"]["pull"]["image"] in dockerfile


def test_every_service_is_asked_for_its_health(compose):
    for name, service in compose["services"].items():
        assert service["healthcheck"]["test"][0] == "CMD", name
        assert "curl" not in str(service["healthcheck"]["test"]), name


def test_database_is_asked_over_tcp_with_a_login(compose):
    """The server of the init scripts answers on its socket: a check over it is healthy too early. pg_isready is content with a cluster
    whose first start was interrupted before the database was made."""
    check = compose["services"]["db"]["healthcheck"]["test"][-1]
    assert "psql -h 127.0.0.1" in check and "-d inventory_db" in check and "/run/secrets/postgres_password" in check


def test_only_nginx_publishes_and_only_declared_ports(stack, compose):
    assert [name for name, service in compose["services"].items() if "ports" in service] == ["nginx"]
    published = []
    for port in compose["services"]["nginx"]["ports"]:
        variable, default, container = re.fullmatch(r"\$\{([A-Z_]+):-(\d+)\}:(\d+)", port).groups()
        published.append(("nginx", variable, int(container)))
        assert int(default) == stack["settings"][variable]["default"]
    assert published == [(port["service"], port["setting"], port["container"]) for port in stack["ports"]]
    for environment in ENVIRONMENTS:
        for name, service in load("compose.%s.yaml" % environment)["services"].items():
            # What the loopback address of a development host shows is declared nowhere.
            assert environment == "development" or "ports" not in service, (environment, name)
            assert all(port.startswith("127.0.0.1:") for port in service.get("ports", [])) and "network_mode" not in service, (environment, name)


def test_networks_keep_nginx_from_the_database(compose):
    services = compose["services"]
    assert services["nginx"]["networks"] == ["frontend"]
    assert services["db"]["networks"] == ["backend"]
    assert compose["networks"]["backend"]["internal"] is True


def test_every_service_is_without_privileges(compose):
    for name, service in compose["services"].items():
        assert re.fullmatch(r"[1-9][0-9]*:[1-9][0-9]*", service["user"]), name
        assert service["cap_drop"] == ["ALL"] and "cap_add" not in service and "privileged" not in service, name
        assert "no-new-privileges:true" in service["security_opt"], name
        assert service["init"] is True and service["logging"]["options"]["max-size"], name


@pytest.mark.parametrize("environment", ["staging", "production", "offline"])
def test_closed_environments_are_read_only_alike(compose, environment):
    overlay = load("compose.%s.yaml" % environment)["services"]
    production = load("compose.production.yaml")["services"]
    assert set(overlay) == set(compose["services"])
    for name, service in overlay.items():
        assert service["read_only"] is True, name
        assert service["tmpfs"] == production[name]["tmpfs"], name


def test_every_secret_is_a_file_of_its_reader(stack, compose):
    expected = {"./secrets/%s.%d" % (name, uid) for name, secret in stack["secrets"].items() for uid in secret["readers"]}
    # cloudflared, which verifies nginx, is no service of the stack.
    expected -= {"./secrets/%s.65532" % entry["ca"] for entry in stack["tunnel"]}
    assert {secret["file"] for secret in compose["secrets"].values()} == expected
    for name, service in compose["services"].items():
        for secret in service.get("secrets", []):
            reader = compose["secrets"][secret["source"]]["file"].rpartition(".")[2]
            assert service["user"].split(":")[0] == reader, (name, secret)


def test_no_password_in_any_file():
    known = ("inventory_pi_2024", "secret_key_change_in_production", "thingdb_default_pass", "thingdb_docker_pass", "change_this_secret")
    assigned = re.compile(r"(PASSWORD|SECRET_KEY|TOKEN)[\"']?\s*[:=]\s*[\"']?(?!\s*$)(?!/run/secrets/)(?!\$\$\(< /run/secrets/)[A-Za-z0-9_$]", re.I)
    for path in STACK.rglob("*"):
        if not path.is_file() or path.suffix in (".py", ".pyc", ".md"):
            continue
        text = path.read_text(encoding="utf-8")
        assert not any(word in text for word in known), path
        for line in text.splitlines():
            assert not assigned.search(line), (path, line)


def test_volumes_agree_and_none_hides_the_settings(stack, compose):
    assert set(stack["volumes"]) == set(compose["volumes"])
    mounted = {}
    for service in compose["services"].values():
        mounted.update((target, source) for source, target in mounts(service))
    assert not any(target.startswith("/var/lib/inventory/config") or target == "/var/lib/inventory" for target in mounted)
    assert mounted["/var/lib/inventory/cache/models"] == "models"


def test_owners_of_volumes_stay_as_the_stack_says(compose):
    """At the first mount Docker gives an empty volume the owner and mode of the folder in the image, unless told not to."""
    for name, service in compose["services"].items():
        for entry in service["volumes"]:
            if isinstance(entry, dict):
                assert entry["type"] == "volume" and entry["volume"] == {"nocopy": True}, (name, entry)
            else:
                assert entry.startswith("./"), (name, entry)


def test_image_folder_is_inside_a_volume_and_not_a_mountpoint(compose):
    """The application's restore removes IMAGE_DIR; the kernel refuses that for a mountpoint."""
    app = compose["services"]["app"]
    folder = app["environment"]["IMAGE_DIR"]
    targets = [target for _source, target in mounts(app)]
    assert folder not in targets
    assert folder.rpartition("/")[0] in targets
    assert "IMAGE_DIR=" + folder in (STACK / "app" / "Dockerfile").read_text(encoding="utf-8")


def test_defaults_in_the_compose_file_are_those_of_the_settings(stack, compose):
    text = (STACK / "compose.yaml").read_text(encoding="utf-8")
    for variable, default in INTERPOLATION.findall(text):
        if not variable.endswith("_IMAGE"):
            assert default == str(stack["settings"][variable]["default"]), variable


def test_debugging_is_off_outside_development(stack):
    assert stack["env"]["app"]["FLASK_DEBUG"] == "0"
    for environment in ("staging", "production", "offline"):
        assert "FLASK_DEBUG" not in (STACK / ("compose.%s.yaml" % environment)).read_text(encoding="utf-8")


def test_files_of_the_stack_are_those_that_compose_mounts(stack, compose):
    mounted = {source[2:] for service in compose["services"].values() for source, _target in mounts(service) if source.startswith("./")}
    assert mounted == {entry["source"] for entry in stack["files"]}
    for entry in stack["files"]:
        assert (STACK / entry["source"]).is_file()


def test_copies_of_the_recipe_exist_in_source_and_recipe():
    found = 0
    for line in re.findall(r"^COPY (?!--from)(.+)$", (STACK / "app" / "Dockerfile").read_text(encoding="utf-8"), re.M):
        for source in line.split()[:-1]:
            if source.startswith(".dockyard/"):
                assert (STACK / "app" / source[len(".dockyard/"):]).is_file(), source
            elif "[" in source:
                # A pattern: one of the two layouts has it
                assert list(STAND_IN.glob(source)) or list((STAND_IN.parent / "inventory-head").glob(source)), source
            else:
                assert (STAND_IN / source).exists(), source
            found += 1
    assert found >= 6


def test_recipe_needs_no_newer_builder():
    """Engine 20.10's BuildKit has no here-documents, and no registry may be there for a frontend."""
    dockerfile = (STACK / "app" / "Dockerfile").read_text(encoding="utf-8")
    assert "<<" not in dockerfile
    assert not re.search(r"^#\s*syntax\s*=", dockerfile, re.M | re.I)
    assert "required=false" in dockerfile


def test_last_stage_installs_nothing_and_is_not_root():
    last = (STACK / "app" / "Dockerfile").read_text(encoding="utf-8").rsplit("\nFROM ", 1)[1]
    assert not re.search(r"apt-get|pip install|gcc", last)
    assert re.findall(r"^USER (.+)$", last, re.M) == ["1000:1000"]


# nginx


@pytest.mark.parametrize("port, expected", [(443, "https://$host$request_uri;"), (8443, "https://$host:8443$request_uri;")])
def test_redirect_names_the_published_port(stack, port, expected):
    assert "return 301 " + expected in render(stack, INVENTORY_HTTPS_PORT=port)


def test_strict_transport_security_only_when_asked(stack):
    assert "Strict-Transport-Security" not in render(stack)
    assert 'Strict-Transport-Security "max-age=300"' in render(stack, INVENTORY_HSTS_SECONDS=300)


def admin_patterns(text):
    return [re.compile(pattern, re.I) for pattern in re.findall(r"location ~\* (\S+) \{", text)]


@pytest.mark.parametrize("path", [
    "/admin", "/admin/", "/backup", "/system-status", "/db-stats", "/remote-access", "/reindex-embeddings", "/cleanup-orphaned-images",
    "/model-cache-status", "/api/shutdown-system", "/api/reboot-system", "/api/restart-service", "/api/upload-package",
    "/api/install-package", "/api/install-unsigned-package", "/api/rollback-package", "/api/cancel-upload", "/api/upgrade-status",
    "/api/optimize-database", "/api/validate-database", "/api/reset-database", "/api/admin/reset-database", "/api/clear-cache",
    "/api/cache-stats", "/api/system-metrics", "/api/reindex-embeddings", "/api/test-package-upload", "/api/simple-test",
    "/api/backup/create", "/api/backup/restore", "/api/backup/restore-existing/a.zip", "/api/backup/download/a.zip",
    "/api/setup-tunnel", "/api/tunnel-status", "/api/scanner/init-qr", "/api/scanner/wifi-info", "/API/Reboot-System",
])
def test_administration_is_closed(stack, path):
    assert any(pattern.search(path) for pattern in admin_patterns(render(stack))), path


@pytest.mark.parametrize("path", [
    "/", "/health", "/create-item", "/process-guid", "/item/0f1d2c3b", "/administration-manual", "/search", "/api/search", "/api/semantic-search",
    "/api/tree-data", "/api/tree-children/0f1d", "/api/move-item", "/api/bulk-move", "/api/get-item-hierarchy/0f1d",
    "/api/generate-qr-sheet", "/api/scanner/receive-scan", "/api/scanner/move-item", "/api/scanner/make-alias",
    "/upload-image/0f1d", "/thumbnail/1", "/images/admin.webp", "/static/favicon.svg",
])
def test_everyday_pages_are_open(stack, path):
    assert not any(pattern.search(path) for pattern in admin_patterns(render(stack))), path


def test_allowed_addresses_come_before_the_refusal(stack):
    text = render(stack, INVENTORY_ADMIN_ALLOW="192.0.2.0/24 2001:db8::1")
    blocks = re.findall(r"location ~\* \S+ \{(.*?)\}", text, re.S)
    assert len(blocks) == 2
    for block in blocks:
        directives = [line.strip() for line in block.splitlines() if line.strip()]
        assert directives == ["allow 192.0.2.0/24;", "allow 2001:db8::1;", "deny all;", "proxy_pass $application;"]
    assert "real_ip" not in text and "$http_x_forwarded_for" not in text and "$proxy_add_x_forwarded_for" not in text


def test_development_mounts_the_source_and_reloads(stack, compose):
    app = load("compose.development.yaml")["services"]["app"]
    mount = app["volumes"][0]
    assert mount["source"] == "${DOCKYARD_SOURCE_DIR:-./source}/" + stack["development"]["source"][0] and mount["read_only"] is True
    # Where the image has its copy: what is mounted takes its place.
    assert "COPY --from=builder /build/src/ %s/" % mount["target"] in (STACK / "app" / "Dockerfile").read_text(encoding="utf-8")
    assert app["environment"]["GUNICORN_RELOAD"] == "1" and app["environment"]["WEB_WORKERS"] == "1"
    variable, default, container = re.fullmatch(r"127\.0\.0\.1:\$\{([A-Z_]+):-(\d+)\}:(\d+)", app["ports"][0]).groups()
    assert stack["settings"][variable]["default"] == int(default) and container == "8000"


def test_a_backup_is_an_action_and_by_itself_only_when_asked(stack, compose):
    action, schedule = stack["actions"]["backup"], stack["schedules"]["backup"]
    assert action["success"] == {"json": {"ok": [True]}} and action["output"] == "json"
    assert stack["settings"][schedule["when_setting"]]["default"] == "" and schedule["calendar"] == {"setting": schedule["when_setting"]}
    from importlib.util import module_from_spec, spec_from_file_location
    spec = spec_from_file_location("inventory_backup", STACK / "app" / "backup.py")
    backup = module_from_spec(spec)
    spec.loader.exec_module(backup)
    mount = [entry for entry in compose["services"][action["service"]]["volumes"] if entry["source"] == "backups"][0]
    assert backup.FOLDER.startswith(mount["target"] + "/")
    dockerfile = (STACK / "app" / "Dockerfile").read_text(encoding="utf-8")
    assert ".dockyard/backup.py" in dockerfile and "/client/pg_restore" in dockerfile and action["command"][2] == "/opt/dockyard/backup.py"
