"""How each client reads a secret here, ready to be copied: with this address, a region and a name filled in.

No snippet holds a value or the secret of an access key: each client finds its key in its environment, or in
its file of credentials. What is filled in is quoted by nothing, so it has only characters that are safe in
each of these languages: an address, a region's name, a secret's name.
"""

from __future__ import annotations

from dataclasses import dataclass
from string import Template
from typing import Final
from urllib.parse import urlsplit

EXAMPLE = "my/secret"  # where a page is about no secret


@dataclass(frozen=True)
class Snippet:
    """One client, and what is written for it."""

    name: str
    label: str
    template: str
    note: str = ""

    def text(self, *, endpoint: str, region: str, secret: str) -> str:
        at = urlsplit(endpoint)
        return Template(self.template).substitute(
            endpoint=endpoint, host=at.netloc, protocol=at.scheme, region=region, secret=secret
        )


@dataclass(frozen=True)
class Filled:
    """A snippet as a page shows it."""

    name: str
    label: str
    text: str
    note: str


BOTO3 = Snippet(
    "boto3",
    "Python (boto3)",
    """\
import boto3

client = boto3.client(
    "secretsmanager",
    endpoint_url="$endpoint",
    region_name="$region",
)
answer = client.get_secret_value(SecretId="$secret")
value = answer["SecretString"] if "SecretString" in answer else answer["SecretBinary"]""",
)
CLI = Snippet(
    "cli",
    "AWS CLI",
    """\
aws secretsmanager get-secret-value \\
  --endpoint-url $endpoint \\
  --region $region \\
  --secret-id $secret \\
  --query SecretString --output text""",
)
TERRAFORM = Snippet(
    "terraform",
    "Terraform",
    """\
provider "aws" {
  region                      = "$region"
  skip_credentials_validation = true
  skip_requesting_account_id  = true
  skip_metadata_api_check     = true
  skip_region_validation      = true

  endpoints {
    secretsmanager = "$endpoint"
  }
}

data "aws_secretsmanager_secret_version" "secret" {
  secret_id = "$secret"
}""",
    "Terraform writes the value into its state file.",
)
JAVASCRIPT = Snippet(
    "javascript",
    "JavaScript",
    """\
import { GetSecretValueCommand, SecretsManagerClient } from "@aws-sdk/client-secrets-manager";

const client = new SecretsManagerClient({ endpoint: "$endpoint", region: "$region" });
const answer = await client.send(new GetSecretValueCommand({ SecretId: "$secret" }));
const value = answer.SecretString ?? answer.SecretBinary;""",
)
JAVA = Snippet(
    "java",
    "Java (AWS SDK 2)",
    """\
import java.net.URI;
import software.amazon.awssdk.regions.Region;
import software.amazon.awssdk.services.secretsmanager.SecretsManagerClient;

try (SecretsManagerClient client = SecretsManagerClient.builder()
        .endpointOverride(URI.create("$endpoint"))
        .region(Region.of("$region"))
        .build()) {
    String value = client.getSecretValue(request -> request.secretId("$secret")).secretString();
}""",
)
ALIBABA = Snippet(
    "alibaba",
    "Python (Alibaba Cloud SDK)",
    """\
import os

from alibabacloud_kms20160120.client import Client
from alibabacloud_kms20160120.models import GetSecretValueRequest
from alibabacloud_tea_openapi.models import Config

client = Client(
    Config(
        endpoint="$host",
        protocol="$protocol",
        region_id="$region",
        access_key_id=os.environ["ALIBABA_CLOUD_ACCESS_KEY_ID"],
        access_key_secret=os.environ["ALIBABA_CLOUD_ACCESS_KEY_SECRET"],
    )
)
answer = client.get_secret_value(GetSecretValueRequest(secret_name="$secret"))
value = answer.body.secret_data""",
    "The same access key, in ALIBABA_CLOUD_ACCESS_KEY_ID and ALIBABA_CLOUD_ACCESS_KEY_SECRET.",
)
ALL: Final = (BOTO3, CLI, TERRAFORM, JAVASCRIPT, JAVA, ALIBABA)


def filled(*, endpoint: str, region: str, secret: str = EXAMPLE) -> list[Filled]:
    """Every snippet for this secret."""
    return [
        Filled(one.name, one.label, one.text(endpoint=endpoint, region=region, secret=secret), one.note)
        for one in ALL
    ]
