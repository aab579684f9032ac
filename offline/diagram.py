"""A stack as a Mermaid flowchart, which GitHub and GitLab draw. Pure functions."""

from offline.view import StackView

__all__ = ["render_diagram"]


def render_diagram(view: StackView) -> str:
    """Return the applications, their Services and the servers as a Mermaid flowchart in Markdown.

    A server outside the cluster is one node, however many groups use it.
    """
    lines = ["```mermaid", "flowchart LR"]
    external_nodes: dict[str, str] = {}
    external_links: list[str] = []
    for application in view.applications:
        node = _format_node_id(application.name)
        lines += [
            f'  subgraph {_format_node_id(application.name, "namespace")} ["namespace {application.namespace}"]',
            f'    {node}(["{application.name}"])',
        ]
        for group in application.groups:
            service = _format_node_id(application.name, *group.name.split("."))
            server = f'{service}__server[("{group.server}<br/>{group.kind}")]'
            if group.service is None:  # a file, which the application mounts
                lines.append(f"    {node} --> {server}")
                continue
            lines.append(f'    {node} --> {service}{{{{"{group.service}"}}}}')
            if not group.addresses:
                lines.append(f"    {service} --> {server}")
                continue
            label = "<br/>".join((group.external_server or group.variant, *group.addresses))
            external = external_nodes.setdefault(label, f"external_{len(external_nodes) + 1}")
            external_links.append(f"  {service} --> {external}")
        lines.append("  end")
    lines += [f'  {node}[("{label}")]' for label, node in external_nodes.items()]
    return "\n".join([*lines, *external_links, "```", ""])


def _format_node_id(*names: str) -> str:
    """Return the identifier of a node. The prefix keeps Mermaid's reserved identifiers, such as `end`, out of it."""
    return "node_" + "__".join(name.replace("-", "_") for name in names)
