"""The library behind certbot, as a program of its own: obtains, asks when to renew, renews, revokes.

acme_client.py DIRECTORY FOLDER NAME KID HMAC_KEY obtain|renew|revoke
"""
import datetime
import pathlib
import sys

import josepy
from acme import client, crypto_util, messages
from cryptography import x509
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa

directory_url, folder, name, kid, hmac_key, verb = sys.argv[1:]
folder = pathlib.Path(folder)
account_file, chain_file = folder / "account.json", folder / "chain.pem"
key_file = folder / "account.pem"

PEM = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
if not key_file.exists():
    key_file.write_bytes(rsa.generate_private_key(65537, 2048).private_bytes(*PEM))
account_key = josepy.JWKRSA.load(key_file.read_bytes())
net = client.ClientNetwork(account_key, user_agent="torhaus-tests")
directory = client.ClientV2.get_directory(directory_url, net)
acme = client.ClientV2(directory, net)

if account_file.exists():
    net.account = acme.query_registration(messages.RegistrationResource.json_loads(account_file.read_text()))
else:
    binding = messages.ExternalAccountBinding.from_data(account_key.public_key(), kid, hmac_key, directory)
    new = messages.NewRegistration(terms_of_service_agreed=True, external_account_binding=binding)
    net.account = acme.new_account(new)
    account_file.write_text(net.account.json_dumps())


def order():
    key = ec.generate_private_key(ec.SECP256R1()).private_bytes(*PEM)
    made = acme.new_order(crypto_util.make_csr(key, [name]))
    for authorization in made.authorizations:
        assert authorization.body.status == messages.STATUS_VALID, authorization.body
    made = acme.finalize_order(made, datetime.datetime.now() + datetime.timedelta(seconds=60))
    (folder / "key.pem").write_bytes(key)
    chain_file.write_text(made.fullchain_pem)


if verb == "obtain":
    order()
elif verb == "renew":
    at, _ = acme.renewal_time(chain_file.read_bytes())
    leaf = x509.load_pem_x509_certificate(chain_file.read_bytes())
    assert leaf.not_valid_before_utc < at < leaf.not_valid_after_utc, at
    order()
elif verb == "revoke":
    acme.revoke(x509.load_pem_x509_certificate(chain_file.read_bytes()), 4)
