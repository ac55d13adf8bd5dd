import type { OperationView } from '#src/contracts/operation.js';
import { findOperation } from '#src/db/operationQueries.js';
import { AppError } from '#src/domain/errors.js';
import { SCOPE_OF_ACTION } from '#src/domain/permissions.js';
import { assertScope } from '../authenticate.js';
import type { Api } from '../deps.js';
import { readId } from '../fields.js';
import { signedIn, type SignedIn } from '../gates.js';
import type { Gate } from '../route.js';
import { ACTION_OF_KIND, findVisibleServer, mayOn } from '../servers/policy.js';

interface OnOperation extends SignedIn {
  operation: OperationView;
}

/** An operation is seen by those who see its server, and by whoever asked for it even when the server is gone. */
export const onOperation: Gate<OnOperation> = {
  rule: 'operation:view',
  scope: 'read',
  errors: [...signedIn.errors, 'not-found'],
  async admit(ctx, api) {
    const { actor, operation } = await load(await api.authenticate(ctx, 'read'), ctx.params, api);
    return { actor, operation };
  },
};

/** …and cancelled by those who might ask for it. */
export const onOwnOperation: Gate<OnOperation> = {
  rule: 'operation:control',
  scope: 'by-operation',
  errors: [...onOperation.errors, 'forbidden'],
  async admit(ctx, api) {
    const { actor, operation, server } = await load(await api.authenticate(ctx, null), ctx.params, api);
    const action = ACTION_OF_KIND[operation.kind];
    assertScope(actor, action === null ? 'admin' : SCOPE_OF_ACTION[action]);
    const allowed =
      actor.role === 'admin' || (server !== null && action !== null && mayOn(actor, action, server));
    if (!allowed)
      throw new AppError('forbidden', { detail: 'You may see this operation, but not cancel it' });
    return { actor, operation };
  },
};

async function load(actor: SignedIn['actor'], params: unknown, api: Api) {
  const operation = await findOperation(api.db, readId(params, 'an operation'));
  const server = operation?.server_id ? await findVisibleServer(api.db, operation.server_id, actor) : null;
  const visible = actor.role === 'admin' || server !== null || operation?.requested_by === actor.id;
  if (!operation || !visible) throw new AppError('not-found', { detail: 'There is no such operation' });
  return { actor, operation, server };
}
