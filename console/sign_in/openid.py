"""The way to the identity provider and back: allauth's, with every check of OpenID Connect Core made.

allauth carries the code flow, its state and its proof key (PKCE). Beyond that an answer counts here only with
a signature by a published key of the configured issuer, for this client, in time, and with the nonce of the
request that it answers. Of what it says, the subject and a name to show are kept; tokens are not.

Knows no user: what a proven identity opens is decided in `console.sign_in.openid_adapter`.
"""

from __future__ import annotations

import hmac
from secrets import token_urlsafe
from typing import Any

import jwt
from allauth.socialaccount.adapter import get_adapter
from allauth.socialaccount.models import SocialApp, SocialLogin
from allauth.socialaccount.providers import registry
from allauth.socialaccount.providers.oauth2.client import OAuth2Error
from allauth.socialaccount.providers.oauth2.views import OAuth2CallbackView
from allauth.socialaccount.providers.openid_connect.provider import OpenIDConnectProvider
from allauth.socialaccount.providers.openid_connect.views import OpenIDConnectOAuth2Adapter
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from django.urls import reverse
from requests import RequestException

from console import openid_settings

Claims = dict[str, Any]

#: Signatures by a private key alone: with a shared secret, or with none, any party could be the provider.
ALGORITHMS = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"]
REQUIRED = ["iss", "sub", "aud", "exp", "iat"]
LEEWAY_SECONDS = 60  # that the two clocks may differ
SUBJECT_LENGTH = 191  # of the column that keeps it
NAME_LENGTH = 120
_ENDPOINTS = ("authorization_endpoint", "token_endpoint", "jwks_uri")


class NotTrusted(OAuth2Error):  # type: ignore[misc]
    """An answer of the provider proves nothing; the message says why, and repeats nothing of it."""


class NoSecret(RequestException):
    """The client's secret cannot be read from its file, so the provider is not asked."""


class Wire(OpenIDConnectOAuth2Adapter):  # type: ignore[misc]
    """What is asked of the provider, and what of its answers is believed.

    Raises `NotTrusted` for an answer that proves nothing and `requests.RequestException` where there is
    none.
    """

    expires_in_key = ""  # of the access token, which is not used
    state: dict[str, Any]  # of the request that is being answered

    @property
    def openid_config(self) -> dict[str, Any]:
        if not hasattr(self, "_trusted"):
            try:
                config = super().openid_config
                self._trusted = {name: config[name] for name in ("issuer", *_ENDPOINTS)}
                # What a provider that names none takes: OpenID Connect Discovery 1.0, 3.
                methods = config.get("token_endpoint_auth_methods_supported") or ["client_secret_basic"]
                self._trusted["token_endpoint_auth_methods_supported"] = list(methods)
            except (KeyError, TypeError, AttributeError):
                raise NotTrusted("Its discovery document is none.") from None
            # OpenID Connect Discovery 1.0, 4.3: else another one could speak for this issuer.
            if self._trusted["issuer"] != openid_settings.provider().issuer:
                raise NotTrusted("Its discovery document is another issuer's.")
            if not all(_may_ask(self._trusted[name]) for name in _ENDPOINTS):
                raise NotTrusted("Its discovery document names an address that is not https.")
        return self._trusted

    def get_callback_url(self, request: HttpRequest, app: SocialApp) -> str:
        return request.build_absolute_uri(reverse("openid_callback"))

    def get_access_token_data(self, *args: Any, **kwargs: Any) -> dict[str, Any]:
        try:
            answer: dict[str, Any] = super().get_access_token_data(*args, **kwargs)
        except (OAuth2Error, LookupError, TypeError, AttributeError):
            raise NotTrusted("It gave no token.") from None  # the cause would show what it gave
        return answer

    def complete_login(
        self, request: HttpRequest, app: SocialApp, token: object, **kwargs: Any
    ) -> SocialLogin:
        claims = self._claims(app, kwargs["response"].get("id_token"))
        # The person's browser came with the state; this says that the provider answered that very request.
        if not hmac.compare_digest(str(claims.get("nonce", "")).encode(), self.state["nonce"].encode()):
            raise NotTrusted("Its token answers another request.")
        login = self.get_provider().sociallogin_from_response(request, claims)
        login.claims = claims
        return login

    def _claims(self, app: SocialApp, id_token: object) -> Claims:
        """What a token says, once all of OpenID Connect Core 1.0, 3.1.3.7 is true of it.

        allauth does not look at the signature of what came by TLS; a company's proxy may open TLS.
        """
        if not isinstance(id_token, str):
            raise NotTrusted("It sent no token.")
        try:
            claims: Claims = jwt.decode(
                id_token,
                self._key(jwt.get_unverified_header(id_token).get("kid")),
                algorithms=ALGORITHMS,
                issuer=self.openid_config["issuer"],
                audience=app.client_id,
                leeway=LEEWAY_SECONDS,
                options={"require": REQUIRED},
            )
        except (jwt.PyJWTError, LookupError, TypeError, ValueError, AttributeError):
            raise NotTrusted("Its token is not valid.") from None
        if claims.get("azp", app.client_id) != app.client_id:
            raise NotTrusted("Its token is another client's.")
        if not isinstance(claims["sub"], str) or not 0 < len(claims["sub"]) <= SUBJECT_LENGTH:
            raise NotTrusted("Its token names no user.")
        return claims

    def _key(self, name: object) -> jwt.PyJWK:
        """The published key of this name; where a provider names none, its only one."""
        with get_adapter().get_requests_session() as session:
            answer = session.get(self.openid_config["jwks_uri"])
            answer.raise_for_status()
            published = jwt.PyJWKSet.from_dict(answer.json()).keys
        fitting = [key for key in published if key.public_key_use in {None, "sig"} and key.key_id == name]
        if len(fitting) != 1:
            raise NotTrusted("Its token is signed with a key that it does not publish.")
        return fitting[0]


class Provider(OpenIDConnectProvider):  # type: ignore[misc]
    """The configured provider. An identity is its issuer with the subject, and no name or address."""

    oauth2_adapter_class = Wire

    def extract_uid(self, data: Claims) -> str:
        return str(data["sub"])

    def extract_extra_data(self, data: Claims) -> dict[str, str]:
        """All that is kept beside the subject: what to show to its owner."""
        name = data.get("preferred_username") or data.get("email") or ""
        return {"name": name[:NAME_LENGTH] if isinstance(name, str) else ""}

    def extract_common_fields(self, data: Claims) -> dict[str, str]:
        return {}

    def extract_email_addresses(self, data: Claims) -> list[object]:
        return []

    def address(self, request: HttpRequest, process: str, **asked: Any) -> str:
        """Where to send the person; `asked` is kept in their session until the answer comes.

        Raises `OAuth2Error` or `requests.RequestException`.
        """
        nonce = token_urlsafe(24)
        # A fresh sign-in at the provider, and proof of when it was (OpenID Connect Core 1.0, 3.1.2.1).
        again = {"prompt": "login", "max_age": "0"} if process == "confirm" else {}
        answer: HttpResponseBase = self.redirect(
            request, process, auth_params={"nonce": nonce, **again}, nonce=nonce, **asked
        )
        return answer["Location"]


# Here and not by an app of allauth's, which would load it, and the libraries that ask it, in every process.
registry.register(Provider)


class Callback(OAuth2CallbackView):  # type: ignore[misc]
    """allauth's end of the journey; the wire learns which request is answered."""

    def _get_state(self, request: HttpRequest, provider: Provider) -> tuple[Any, Any]:
        state, response = super()._get_state(request, provider)
        self.adapter.state = state
        return state, response


def _may_ask(url: object) -> bool:
    """A provider elsewhere cannot direct a request to this machine's own ports."""
    is_here = openid_settings.provider().issuer.startswith("http://")
    return openid_settings.is_safe(url) and (is_here or str(url).startswith("https://"))


def app() -> SocialApp:
    """The configured client as allauth knows one: no row of its table, and read again each time.

    Raises `NoSecret`.
    """
    provider = openid_settings.provider()
    try:
        secret = openid_settings.secret_in(provider.secret_file)
    except ValueError:
        raise NoSecret(NoSecret.__doc__) from None
    return SocialApp(
        provider=Provider.id,
        provider_id=provider.issuer,
        name=provider.name,
        client_id=provider.client_id,
        secret=secret,
        settings={
            "server_url": f"{provider.issuer.rstrip('/')}/.well-known/openid-configuration",
            "oauth_pkce_enabled": True,
            "scope": ["openid", "profile"],
        },
    )
