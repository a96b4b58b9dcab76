// Passkeys: a button with data-passkey asks the browser for one and sends the form that it stands in.
//
// data-passkey is `create` or `get`, data-options what the server wants, as WebAuthn's JSON.
"use strict";

{
  const say = (form, text) => {
    const place = form.querySelector("[data-passkey-error]");
    place.hidden = text === "";
    place.querySelector("[data-text]").textContent = text;
  };

  const ask = async (kind, options) => {
    if (kind === "create") {
      return navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options) });
    }
    return navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options) });
  };

  document.addEventListener("click", async (event) => {
    const button = event.target.closest("[data-passkey]");
    if (!button) {
      return;
    }
    const form = button.form;
    say(form, "");
    if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON) {
      say(form, "This browser cannot use passkeys at this address. Use a code, or another browser.");
      return;
    }
    try {
      const found = await ask(button.dataset.passkey, JSON.parse(button.dataset.options).publicKey);
      form.querySelector("input[name='credential']").value = JSON.stringify(found.toJSON());
      form.requestSubmit();
    } catch {
      say(form, "No passkey was used. Try again, or use a code.");
    }
  });
}
