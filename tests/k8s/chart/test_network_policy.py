"""The network policy: what a run may reach."""

import kubernetes_validate
import pytest

from tests.k8s.chart.charts import EXTRAS, LEAST, RELEASES, of_kind, refused, template

pytestmark = pytest.mark.slow


def test_the_network_policy_lets_out_what_it_says() -> None:
    policy = of_kind(template(LEAST | {"networkPolicy": EXTRAS["networkPolicy"]}), "NetworkPolicy")["spec"]
    assert policy["policyTypes"] == ["Ingress", "Egress"] and "ingress" not in policy
    assert policy["egress"][-1] == {
        "to": [{"ipBlock": {"cidr": "10.0.0.0/8"}}], "ports": [{"protocol": "TCP", "port": 9000}]
    }  # fmt: skip
    closed = of_kind(template(LEAST | {"networkPolicy": {"enabled": True, "metadata": False}}), "NetworkPolicy")
    assert len(closed["spec"]["egress"]) == 2
    dns = {(one["protocol"], one["port"]) for one in closed["spec"]["egress"][0]["ports"]}
    assert dns == {(protocol, port) for protocol in ("UDP", "TCP") for port in (53, 5353)}, "5353 is OpenShift's"
    metadata = {one["ipBlock"]["cidr"] for one in policy["egress"][2]["to"]}
    assert metadata >= {"169.254.169.254/32", "fd00:ec2::254/128", "fd00:ec2::23/128", "fd20:ce::254/128"}


def test_the_network_policy_lets_out_other_protocols_than_tcp() -> None:
    ports = [9000, {"port": 123, "protocol": "UDP"}, {"port": 514}]
    egress = [{"cidr": "fd00::/8", "ports": ports}, {"cidr": "10.0.0.0/8"}]
    objects = template(LEAST | {"networkPolicy": {"enabled": True, "egress": egress}})
    policy = of_kind(objects, "NetworkPolicy")
    kubernetes_validate.validate(policy, RELEASES[-1], strict=True)
    wanted = [("TCP", 9000), ("UDP", 123), ("TCP", 514)]
    some, every = policy["spec"]["egress"][-2:]
    assert [(one["protocol"], one["port"]) for one in some["ports"]] == wanted and "ports" not in every
    for wrong in ({"port": 0}, {"port": 1, "protocol": "ICMP"}, {"protocol": "UDP"}):
        assert "/networkPolicy/egress/0/ports/0" in refused(
            LEAST | {"networkPolicy": {"egress": [{"cidr": "10.0.0.0/8", "ports": [wrong]}]}}
        )
