"""An AWS that checks signatures and permissions, with an API key in all the places that a key may be in. Its first
line of output is a JSON object that says where all is; it ends with its input."""

import base64
import json
import logging
import sys
import urllib.request

import boto3
from moto.server import ThreadedMotoServer

KEY = sys.argv[1]
REGION, OTHER = "eu-west-1", "us-west-2"

logging.getLogger("werkzeug").disabled = True
server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
server.start()
url = "http://%s:%s" % server.get_host_and_port()


def client(service, region=REGION):
    return boto3.client(
        service, endpoint_url=url, region_name=region, aws_access_key_id="a", aws_secret_access_key="b"
    )


def role(name, actions):
    trust = {"Effect": "Allow", "Principal": {"Service": "lambda.amazonaws.com"}, "Action": "sts:AssumeRole"}
    iam = client("iam")
    document = json.dumps({"Version": "2012-10-17", "Statement": trust})
    arn = iam.create_role(RoleName=name, AssumeRolePolicyDocument=document)["Role"]["Arn"]
    statement = {"Effect": "Allow", "Action": actions, "Resource": "*"}
    document = json.dumps({"Version": "2012-10-17", "Statement": statement})
    iam.put_role_policy(RoleName=name, PolicyName="own", PolicyDocument=document)
    credentials = client("sts").assume_role(RoleArn=arn, RoleSessionName="orders")["Credentials"]
    return {
        "AWS_ACCESS_KEY_ID": credentials["AccessKeyId"],
        "AWS_SECRET_ACCESS_KEY": credentials["SecretAccessKey"],
        "AWS_SESSION_TOKEN": credentials["SessionToken"],
    }


def encrypted(**context):
    kms = client("kms")
    key = kms.create_key()["KeyMetadata"]["KeyId"]
    blob = kms.encrypt(KeyId=key, Plaintext=KEY.encode(), **context)["CiphertextBlob"]
    return base64.b64encode(blob).decode()


secret, elsewhere, ssm = client("secretsmanager"), client("secretsmanager", OTHER), client("ssm")
ssm.put_parameter(Name="/datadog/key", Value=KEY, Type="SecureString")
parameter = ssm.get_parameter(Name="/datadog/key")["Parameter"]["ARN"]
ways = {
    "a secret": ["DD_API_KEY_SECRET_ARN", secret.create_secret(Name="text", SecretString=KEY + "\n")["ARN"]],
    "a secret by name": ["DD_API_KEY_SECRET_ARN", "text"],
    "a JSON secret": [
        "DD_API_KEY_SECRET_ARN",
        secret.create_secret(Name="json", SecretString=json.dumps({"dd_api_key": KEY}))["ARN"],
    ],
    "a binary secret": [
        "DD_API_KEY_SECRET_ARN",
        secret.create_secret(Name="binary", SecretBinary=KEY.encode())["ARN"],
    ],
    "a secret of another region": [
        "DD_API_KEY_SECRET_ARN",
        elsewhere.create_secret(Name="elsewhere", SecretString=KEY)["ARN"],
    ],
    "a parameter by name": ["DD_API_KEY_SSM_NAME", "/datadog/key"],
    "a parameter by ARN": ["DD_API_KEY_SSM_ARN", parameter],
    "KMS": ["DD_KMS_API_KEY", encrypted()],
    "KMS with a context": [
        "DD_KMS_API_KEY",
        encrypted(EncryptionContext={"LambdaFunctionName": "orders"}),
    ],
}
allowed = role("allowed", ["secretsmanager:GetSecretValue", "ssm:GetParameter", "kms:Decrypt"])
denied = role("denied", ["s3:GetObject"])
# From here on who asks has to be allowed to, and to sign as AWS wants it.
plain = {"Content-Type": "text/plain"}
urllib.request.urlopen(urllib.request.Request(url + "/moto-api/reset-auth", b"0", plain)).read()
print(json.dumps({"url": url, "ways": ways, "allowed": allowed, "denied": denied}), flush=True)
sys.stdin.read()
