#!/usr/bin/env python3
"""Writes the two Carbon applications of the example. Equal input gives equal bytes: times and order are fixed."""

import pathlib
import zipfile

ROLE = "EnterpriseServiceBus"
SYNAPSE = 'xmlns="http://ws.apache.org/ns/synapse"'
HEAD = '<?xml version="1.0" encoding="UTF-8"?>\n'

SHIPPING_API = f"""{HEAD}<api {SYNAPSE} name="ShippingApi" context="/shipping">
    <resource methods="GET" uri-template="/{{parcel}}">
        <inSequence>
            <call>
                <endpoint key="ShippingBackend"/>
            </call>
            <respond/>
        </inSequence>
    </resource>
</api>
"""
SHIPPING_BACKEND = f"""{HEAD}<endpoint {SYNAPSE} name="ShippingBackend">
    <http method="get" uri-template="http://shipping.internal.example.org:8280/v2/parcels/{{uri.var.parcel}}"/>
</endpoint>
"""
PRICE_API = f"""{HEAD}<api {SYNAPSE} name="PriceApi" context="/prices">
    <resource methods="GET" uri-template="/{{article}}">
        <inSequence>
            <sequence key="PriceLookup"/>
            <respond/>
        </inSequence>
    </resource>
</api>
"""
PRICE_LOOKUP = f"""{HEAD}<sequence {SYNAPSE} name="PriceLookup">
    <payloadFactory media-type="json">
        <format>{{"article": "$1", "price": "12.50", "currency": "EUR"}}</format>
        <args>
            <arg expression="get-property('uri.var.article')"/>
        </args>
    </payloadFactory>
</sequence>
"""

APPLICATIONS = {
    ("Shipping", "1.4.0"): [
        ("ShippingApi", "synapse/api", SHIPPING_API),
        ("ShippingBackend", "synapse/endpoint", SHIPPING_BACKEND),
    ],
    ("Prices", "2.0.1"): [
        ("PriceApi", "synapse/api", PRICE_API),
        ("PriceLookup", "synapse/sequence", PRICE_LOOKUP),
    ],
}


def members(name, version, artifacts):
    """The files of one application, in the order in which they are packed."""
    dependencies = "".join(
        f'        <dependency artifact="{artifact}" version="{version}" include="true" serverRole="{ROLE}"/>\n'
        for artifact, _, _ in artifacts
    )
    yield "artifacts.xml", (
        f'{HEAD}<artifacts>\n    <artifact name="{name}" version="{version}" type="carbon/application">\n'
        f"{dependencies}    </artifact>\n</artifacts>\n"
    )
    for artifact, kind, text in artifacts:
        file = f"{artifact}-{version}.xml"
        yield f"{artifact}_{version}/artifact.xml", (
            f'{HEAD}<artifact name="{artifact}" version="{version}" type="{kind}" serverRole="{ROLE}">\n'
            f"    <file>{file}</file>\n</artifact>\n"
        )
        yield f"{artifact}_{version}/{file}", text


def main():
    directory = pathlib.Path(__file__).parent / "server" / "carbonapps"
    directory.mkdir(parents=True, exist_ok=True)
    for (name, version), artifacts in APPLICATIONS.items():
        with zipfile.ZipFile(directory / f"{name}_{version}.car", "w") as archive:
            for member, text in members(name, version, artifacts):
                # Stored: the bytes then do not depend on the version of zlib.
                archive.writestr(zipfile.ZipInfo(member, (2024, 1, 1, 0, 0, 0)), text)


main()
