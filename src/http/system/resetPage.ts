import { anyone } from '../gates.js';
import { defineRoute, type Route } from '../route.js';

/** Where the link of a reset mail leads, for installations whose front end has no such page of its own. */
const PAGE = `<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="referrer" content="no-referrer">
<title>A new password for AYMC</title>
</head>
<body>
<h1>A new password</h1>
<form id="form">
<p><label>New password, at least 8 characters<br>
<input id="password" type="password" autocomplete="new-password" minlength="8" maxlength="256" required autofocus></label></p>
<p><button>Set it</button></p>
</form>
<p id="outcome" role="status"></p>
<script src="/reset-password/page.js"></script>
</body>
</html>
`;

/** The token stays in the fragment, which is sent to no server but in this one request. */
const SCRIPT = `const form = document.getElementById('form');
const outcome = document.getElementById('outcome');
form.addEventListener('submit', async event => {
  event.preventDefault();
  const token = new URLSearchParams(location.hash.slice(1)).get('token') ?? '';
  const new_password = document.getElementById('password').value;
  const answer = await fetch('/api/v1/auth/reset-password/confirm', {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ token, new_password }),
  });
  const { message, detail } = await answer.json();
  outcome.textContent = answer.ok ? message + '. You can sign in with it now.' : detail;
  form.hidden = answer.ok;
  if (answer.ok) history.replaceState(null, '', location.pathname);
});
`;

const CSP =
  "default-src 'none'; script-src 'self'; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const base = { method: 'GET', outsideBase: true, tag: 'system', auth: anyone } as const;

const page = defineRoute({
  ...base,
  operationId: 'readResetPage',
  path: '/reset-password',
  summary: 'The page that the link of a reset mail opens',
  success: { status: 200, contentType: 'text/html; charset=utf-8' },
  handler: () => ({ body: PAGE, headers: { 'Content-Security-Policy': CSP } }),
});

const script = defineRoute({
  ...base,
  operationId: 'readResetScript',
  path: '/reset-password/page.js',
  summary: 'What that page does',
  success: { status: 200, contentType: 'text/javascript; charset=utf-8' },
  handler: () => ({ body: SCRIPT }),
});

export const resetPageRoutes: Route[] = [page, script];
