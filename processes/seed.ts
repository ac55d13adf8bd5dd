import { seed } from '#src/db/seed.js';
import { hashPassword } from '#src/security/password.js';
import { withDatabase } from './withDatabase.js';

await withDatabase({ applicationName: 'aymc seed' }, async (db, { auth, runtime }) => {
  const { adminUsername: username, adminEmail: email, adminPassword: password } = auth;
  const firstAdmin = username && email && password ? { username, email, password } : undefined;
  const made = await seed(db, { env: runtime.env, firstAdmin, hashPassword });
  console.log(made.length > 0 ? `made ${made.join(', ')}` : 'nothing to make');
});
