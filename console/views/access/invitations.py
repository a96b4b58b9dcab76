"""Inviting a person, or letting one in again, by a link that is shown once; and what its holder sees."""

from __future__ import annotations

from urllib.parse import urlencode
from uuid import UUID

from django.conf import settings
from django.contrib.auth.decorators import login_required
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.views.decorators.debug import sensitive_post_parameters
from django.views.decorators.http import require_http_methods, require_POST, require_safe

from console import errors
from console.access import resources, rights
from console.forms.access.invitations import ChoosePassword, Invite
from console.forms.access.people import Reset
from console.http import OperatorRequest
from console.sessions import fresh
from console.sign_in import openid_answers
from console.views import dialogs
from secrets_app.actions import Action
from secrets_app.crypto.plaintext import Plaintext
from secrets_app.models import Invitation, User
from secrets_app.people import invitations, second_factors, users


@login_required
@require_safe
def index(request: OperatorRequest) -> HttpResponse:
    """The open ones, for users who may invite or may list users."""
    rows, may_invite = rights.open_invitations(request), resources.may(request, Action.CREATE_USER)
    context = {"rows": rows, "may_invite": may_invite, "may_see_groups": _lists_groups(request)}
    return render(request, "access/invitations.html", context)


@login_required
@require_http_methods(["GET", "POST"])
@fresh.required()
def invite(request: OperatorRequest) -> HttpResponse:
    """Ask who, then show the link."""
    resources.require(request, Action.CREATE_USER)
    if request.POST.getlist("groups"):
        resources.require(request, Action.LIST_GROUPS)
    form = Invite(request.POST if request.method == "POST" else None, with_groups=_lists_groups(request))
    if form.is_valid():
        given = form.cleaned_data
        try:
            invitation, token = invitations.invite(actor=request.principal, **given)
            return _link(request, invitation, token)
        except invitations.NameTaken as error:
            form.add_error("username", str(error))
    return dialogs.ask(request, "access/_invite.html", "Invite a user", {"form": form})


@login_required
@require_http_methods(["GET", "HEAD", "POST"])
@fresh.required()
def back(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """Let a user who lost the password or the identity choose a new one."""
    person = rights.user(request, pk, Action.RESET_SIGN_IN)
    rights.require_full_access(request, Action.RESET_SIGN_IN, users.named(person))
    form = Reset(request.POST if request.method == "POST" else None)
    status = 422 if request.method == "POST" else 200
    if form.is_valid():
        try:
            invitation, token = invitations.invite_back(
                person, actor=request.principal, reason=form.cleaned_data["reason"]
            )
            return _link(request, invitation, token)
        except (invitations.Own, invitations.Disabled) as error:
            form.add_error(None, str(error))
            status = 409
    context = {"form": form, "person": person}
    return dialogs.show(request, "access/_user_reset_sign_in.html", "Reset sign-in", context, status=status)


@login_required
@require_POST
@fresh.required(back="invitations")
def renew(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """A new link for an invitation; the old one is void."""
    resources.require(request, Action.CREATE_USER)
    invitation = rights.invitation(request, pk)
    try:
        return _link(request, invitation, invitations.renew(invitation, actor=request.principal))
    except invitations.Void as error:
        return errors.conflict(request, str(error))


@login_required
@require_POST
@fresh.required(back="invitations")
def revoke(request: OperatorRequest, pk: UUID) -> HttpResponse:
    """Make a link void."""
    resources.require(request, Action.CREATE_USER)
    invitation = rights.invitation(request, pk)
    try:
        invitations.revoke(invitation, actor=request.principal)
    except invitations.Void as error:
        return errors.conflict(request, str(error))
    return redirect("invitations")


def _lists_groups(request: OperatorRequest) -> bool:
    return resources.may(request, Action.LIST_GROUPS)


def _link(request: OperatorRequest, invitation: Invitation, token: Plaintext) -> HttpResponse:
    path = reverse("invitation_open", kwargs={"token": token.reveal()})
    url = Plaintext(request.build_absolute_uri(path))  # a logger of templates prints what they are given
    return dialogs.show(request, "access/_invited.html", "Invitation", {"invitation": invitation, "url": url})


# ---------------------------------------------------------------- the invited person


@require_safe
def open_link(request: HttpRequest, token: str) -> HttpResponse:
    """Go on without the link in the address."""
    try:
        invitation = invitations.find(token)
    except invitations.Void as error:
        return errors.answer(request, errors.Problem(410, "This link is not valid", str(error)))
    request.session[openid_answers.OPENED] = [str(invitation.pk), invitation.token_hash]
    return redirect("invitation")


@sensitive_post_parameters("password1", "password2")
@require_http_methods(["GET", "POST"])
def accept(request: HttpRequest) -> HttpResponse:
    """Choose a password; the person exists after that, and signs in with it alone."""
    if isinstance(request.user, User):
        return errors.conflict(request, "You are signed in already. Sign out, then open the link again.")
    pk, token_hash = request.session.get(openid_answers.OPENED, ("", ""))
    invitation = Invitation.objects.filter(pk=pk).first() if pk else None
    if invitation is None:
        return openid_answers.void(request)
    if request.method == "POST" and settings.OIDC and settings.OIDC.is_only:
        return errors.conflict(request, f"Users sign in with {settings.OIDC.name} only.")
    future = User(username=invitation.username, display_name=invitation.display_name)
    form = ChoosePassword(request.POST if request.method == "POST" else None, user=future)
    if not form.is_valid():
        status = 422 if request.method == "POST" else 200
        context = {"form": form, "invitation": invitation}
        return render(request, "account/invitation.html", context, status=status)
    try:
        person = invitations.accept(invitation, token_hash, Plaintext(form.cleaned_data["password1"]))
    except invitations.NameTaken as error:
        return errors.conflict(request, str(error))
    except invitations.Void:
        return openid_answers.void(request)
    del request.session[openid_answers.OPENED]
    first = reverse("home" if second_factors.has_one(person) else "mfa_index")
    return redirect(f"{reverse('account_login')}?{urlencode({'next': first})}")
