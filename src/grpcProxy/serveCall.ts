import { randomUUID } from 'node:crypto';
import { Metadata, status, type ServerInterceptingCallInterface, type StatusObject } from '@grpc/grpc-js';
import { REASON_KEY } from '#src/agents/errors.js';
import type { RawCall } from '#src/agents/gateway.js';
import { AppError, ERRORS, type ErrorCode } from '#src/domain/errors.js';
import { findTarget, identify, recordCall, refuseHarm, type Arrival, type Target } from './admit.js';
import type { GrpcProxyDeps } from './deps.js';
import { passedOn, textOf } from './metadata.js';
import type { Meter } from './meter.js';
import type { ProxiedMethod } from './methods.js';
import type { Places } from './places.js';

export interface CallLimits {
  /** For calls whose client gives none, and the most that a client can ask for. */
  unaryMs: number;
  streamMs: number;
  /** How often a call that lasts is asked whether it still may. */
  recheckMs: number;
}

interface Proxy extends GrpcProxyDeps {
  limits: CallLimits;
  places: Places;
  meter: Meter;
  /** Calls under way; one that is aborted ends with the AppError that it was aborted with. */
  underWay: Set<AbortController>;
}

const REQUEST_ID = /^[\w.:-]{1,128}$/;

/** Lets the call in and relays it; whatever comes of that is answered to the client, and nothing is thrown. */
export function serveCall(proxy: Proxy, call: ServerInterceptingCallInterface, method: ProxiedMethod): void {
  const ending = new AbortController();
  /** Set while messages are relayed; before, none is read. */
  let toAgent: RawCall | undefined;
  call.start({
    onReceiveMetadata: metadata => void serve(metadata),
    onReceiveMessage: (message: Buffer) => toAgent?.send(message, () => call.startRead()),
    onReceiveHalfClose: () => toAgent?.halfClose(),
    onCancel: () => ending.abort(new AppError('cancelled', { detail: 'The caller hung up' })),
  });

  async function serve(metadata: Metadata): Promise<void> {
    const given = textOf(metadata, 'request-id') ?? '';
    const requestId = REQUEST_ID.test(given) ? given : randomUUID();
    const ip = call.getConnectionInfo().remoteAddress;
    const log = proxy.logger.child({ requestId, rpc: method.name });
    const began = performance.now();
    const measured = proxy.meter.begin(method);
    let answer: StatusObject;
    proxy.underWay.add(ending);
    try {
      answer = withReason(await relayAdmitted({ method, metadata, requestId, ip }));
    } catch (error) {
      if (!(error instanceof AppError)) log.error({ err: error }, 'proxied call broke');
      answer = statusOf(error instanceof AppError ? error : new AppError('internal'), requestId);
    }
    proxy.underWay.delete(ending);
    call.sendStatus(answer);
    measured(answer.code);
    log.info(
      { status: status[answer.code], ms: Math.round(performance.now() - began) },
      'proxied call ended',
    );
  }

  async function relayAdmitted(arrival: Arrival): Promise<StatusObject> {
    const release = proxy.places.take();
    try {
      const actor = await identify(proxy, arrival);
      const releaseUser = proxy.places.takeFor(actor.id);
      try {
        await proxy.countRequest(actor.id);
        const target = await findTarget(proxy, arrival, actor);
        await refuseHarm(proxy, arrival, target, ending.signal);
        ending.signal.throwIfAborted();
        await recordCall(proxy.db, arrival, actor, target);
        return await whilePermitted(arrival, () => relay(arrival, target));
      } finally {
        releaseUser();
      }
    } finally {
      release();
    }
  }

  /** Ends the call when the account, the key or the membership behind it is gone. */
  async function whilePermitted<T>(arrival: Arrival, work: () => Promise<T>): Promise<T> {
    const recheck = async (): Promise<void> => {
      try {
        await findTarget(proxy, arrival, await identify(proxy, arrival));
      } catch (error) {
        // That we cannot ask now takes nothing from anyone.
        if (error instanceof AppError && !error.retryable) ending.abort(error);
      }
    };
    const timer = setInterval(() => void recheck(), proxy.limits.recheckMs);
    try {
      return await work();
    } finally {
      clearInterval(timer);
    }
  }

  /** Of each side one message at a time is read, and the next when the other side has taken it. */
  async function relay({ metadata, requestId }: Arrival, { agent }: Target): Promise<StatusObject> {
    const sent = passedOn(metadata);
    sent.set('request-id', requestId);
    const spec = { agent, path: method.path, metadata: sent, deadline: deadline(), signal: ending.signal };
    const end = await new Promise<StatusObject | AppError>((resolve, reject) => {
      const opening = proxy.gateway.openCall(spec, {
        onMetadata: received => call.sendMetadata(passedOn(received)),
        onMessage: message => call.sendMessage(message, () => toAgent?.startRead()),
        onEnd: resolve,
      });
      opening.then(opened => {
        toAgent = opened;
        opened.startRead();
        call.startRead();
      }, reject);
    }).finally(() => ending.signal.throwIfAborted());
    if (end instanceof AppError) throw end;
    return { ...end, metadata: passedOn(end.metadata) };
  }

  function deadline(): number {
    const asked = call.getDeadline();
    const atMost = Date.now() + (method.streams ? proxy.limits.streamMs : proxy.limits.unaryMs);
    return Math.min(asked instanceof Date ? asked.getTime() : asked, atMost);
  }
}

/** What grpc-js itself says of a connection or of time, in the words of our table too. */
const REASON_OF: Partial<Record<number, ErrorCode>> = {
  [status.UNAVAILABLE]: 'agent-unreachable',
  [status.DEADLINE_EXCEEDED]: 'agent-timeout',
};

function withReason(answer: StatusObject): StatusObject {
  const reason = REASON_OF[answer.code];
  if (reason === undefined || answer.metadata.get(REASON_KEY).length > 0) return answer;
  const metadata = answer.metadata.clone();
  metadata.set(REASON_KEY, reason);
  return { ...answer, metadata };
}

function statusOf({ code, detail }: AppError, requestId: string): StatusObject {
  const metadata = new Metadata();
  metadata.set(REASON_KEY, code);
  metadata.set('request-id', requestId);
  return { code: status[ERRORS[code].grpc], details: detail, metadata };
}
