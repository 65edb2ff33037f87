"""One address for several servers: nginx, which sends each request to the server with the fewest open ones.

Open requests are what a vLLM server queues and decodes, so `least_conn` levels the batches of equal servers. In compose
and on bare hosts the configuration is a file; the image of nginx fills in addresses.
Source: https://nginx.org/en/docs/http/ngx_http_upstream_module.html (least_conn; `resolve` from 1.27.3).
"""

from collections.abc import Sequence

from vllm_opt.optimizer.deployment.deployment import Deployment, Router
from vllm_opt.optimizer.deployment.launch import address_variable

NGINX_IMAGE = "nginx:1.28"
_SERVER = """server {{
    listen {port};
    client_max_body_size 64m;
    location / {{
        proxy_pass http://{name};
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host $host;
        proxy_buffering off;
        proxy_read_timeout 1h;
        proxy_next_upstream error timeout http_502 http_503;
        proxy_next_upstream_timeout 10s;
    }}
}}
"""


def nginx_text(deployment: Deployment, *, plain: bool = False) -> str:
    """The upstreams and servers of all routers; `plain` is a whole configuration with host names as addresses."""
    blocks = []
    for router in deployment.routers:
        servers = [f"{_address(deployment, each.host, plain=plain)}:{each.port}" for each in router.endpoints]
        blocks.append(upstream(router.name, servers) + _SERVER.format(port=router.port, name=router.name))
    if not plain:
        return "\n".join(blocks)
    inner = "".join(f"    {line}\n" if line else "\n" for line in "\n".join(blocks).splitlines())
    head = "# nginx -c /path/of/router.conf; every host name must resolve, or be replaced by an address.\n"
    return f"{head}events {{}}\nhttp {{\n    access_log off;\n{inner}}}\n"


def _address(deployment: Deployment, host: str, *, plain: bool) -> str:
    """How nginx reaches a host: itself where there is one, else by address, or by the variable that holds it."""
    if len(deployment.hosts) == 1:
        return "127.0.0.1"
    return deployment.address_of(host) if plain else f"${{{address_variable(host)}}}"


def upstream(name: str, servers: Sequence[str], extra: str = "") -> str:
    """One group of servers."""
    lines = "".join(f"    server {server}{extra} max_fails=2 fail_timeout=10s;\n" for server in servers)
    zone = f"    zone {name} 128k;\n" if extra else ""
    return f"upstream {name} {{\n{zone}    least_conn;\n    keepalive 64;\n{lines}}}\n"


def server_block(name: str, port: int) -> str:
    """The server in front of one group."""
    return _SERVER.format(port=port, name=name)


def router_hosts(router: Router) -> list[str]:
    """Hosts behind a router."""
    return sorted({each.host for each in router.endpoints})
