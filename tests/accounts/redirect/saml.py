"""Make a SAML provider's metadata and a signed response: `python saml.py NAME TARGET`.

The library that signs is beside the plugins, so tests run this as a program with their
folder in PYTHONPATH. Prints JSON.
"""

from __future__ import annotations

import base64
import json
import sys
from datetime import UTC, datetime, timedelta

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import NameOID
from lxml import etree  # type: ignore[import-not-found,unused-ignore]
from signxml import XMLSigner  # type: ignore[import-not-found,unused-ignore]

ISSUER = "https://idp.uni.example"
FORMAT = "%Y-%m-%dT%H:%M:%SZ"


def main(name: str, target: str) -> None:
    now = datetime.now(UTC)
    key = rsa.generate_private_key(65537, 2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "idp")])
    certificate = (
        x509.CertificateBuilder(subject, subject, key.public_key(), 1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .sign(key, hashes.SHA256())
    )
    der = base64.b64encode(certificate.public_bytes(Encoding.DER)).decode()
    metadata = f"""<md:EntityDescriptor entityID="{ISSUER}"
  xmlns:md="urn:oasis:names:tc:SAML:2.0:metadata"
  xmlns:ds="http://www.w3.org/2000/09/xmldsig#"><md:IDPSSODescriptor
  protocolSupportEnumeration="urn:oasis:names:tc:SAML:2.0:protocol">
  <md:KeyDescriptor use="signing"><ds:KeyInfo><ds:X509Data>
  <ds:X509Certificate>{der}</ds:X509Certificate></ds:X509Data></ds:KeyInfo>
  </md:KeyDescriptor><md:SingleSignOnService Location="{ISSUER}/sso"
  Binding="urn:oasis:names:tc:SAML:2.0:bindings:HTTP-Redirect"/>
  </md:IDPSSODescriptor></md:EntityDescriptor>"""
    begin = (now - timedelta(minutes=2)).strftime(FORMAT)
    end = (now + timedelta(minutes=5)).strftime(FORMAT)
    response = etree.fromstring(f"""<samlp:Response ID="r1" Version="2.0"
  xmlns:samlp="urn:oasis:names:tc:SAML:2.0:protocol"
  xmlns:saml="urn:oasis:names:tc:SAML:2.0:assertion">
  <saml:Issuer>{ISSUER}</saml:Issuer><saml:Assertion ID="a1" Version="2.0">
  <saml:Issuer>{ISSUER}</saml:Issuer><saml:Subject><saml:NameID>{name}</saml:NameID>
  <saml:SubjectConfirmation><saml:SubjectConfirmationData Recipient="{target}"/>
  </saml:SubjectConfirmation></saml:Subject>
  <saml:Conditions NotBefore="{begin}" NotOnOrAfter="{end}"/>
  </saml:Assertion></samlp:Response>""")
    pem = certificate.public_bytes(Encoding.PEM)
    signed = XMLSigner().sign(response, key=key, cert=[pem.decode()])
    text = base64.b64encode(etree.tostring(signed)).decode()
    print(json.dumps({"metadata": metadata, "response": text}))


if __name__ == "__main__":
    main(*sys.argv[1:])
