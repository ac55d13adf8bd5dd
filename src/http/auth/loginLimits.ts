import { takeOrThrow, type Allowance, type CreateRateLimiter } from '../rateLimiter.js';

interface LoginLimitSettings {
  loginPerAccountPerMinute: number;
  loginPerIpPerMinute: number;
}

/** Whose password is tried. */
export interface Attempt {
  /** The name that was given, in lower case; of who is signed in, the id. */
  account: string;
  ip: string;
  /** The account was signed in to from there before. */
  knownAddress: boolean;
}

export interface LoginLimits {
  /** Before anything is looked up. Rejects with `rate-limited`, as all of these. */
  fromAddress(ip: string): Promise<void>;
  /** Counts an attempt on an account, known or not. */
  attempt(attempt: Attempt): Promise<Allowance>;
  /** Whoever knows the password is not guessing, and is not slowed by those who are. */
  succeeded(attempt: Attempt): Promise<void>;
  /** A new account costs a password hash too. */
  register(ip: string): Promise<Allowance>;
  /** False once too many mails have gone to that address within the hour. */
  mayMail(address: string): Promise<boolean>;
}

/** A minute's attempts again each hour: 240 guesses a day instead of 14,400. */
const SUSTAINED_PART = 1 / 60;
const MAILS_AN_HOUR = 3;

/**
 * The lock-out is a limit and not a switch, so that it ends by itself: so many attempts at once, then one every few
 * minutes. It can't be used to lock somebody out either. Addresses from which the account was signed in to before have
 * buckets of their own, which a stranger's failures do not empty; all others share one.
 */
export function createLoginLimits(settings: LoginLimitSettings, create: CreateRateLimiter): LoginLimits {
  const perAccount = settings.loginPerAccountPerMinute;
  const addresses = create({ name: 'login-ip', perMinute: settings.loginPerIpPerMinute });
  const registrations = create({ name: 'register-ip', perMinute: settings.loginPerIpPerMinute });
  const accounts = create({ name: 'login-account', perMinute: perAccount });
  const sustained = create({
    name: 'login-account-sustained',
    perMinute: perAccount * SUSTAINED_PART,
    burst: perAccount * 3,
  });
  const mails = create({ name: 'mail', perMinute: MAILS_AN_HOUR / 60, burst: MAILS_AN_HOUR });
  const keyOf = ({ account, ip, knownAddress }: Attempt) => (knownAddress ? `${account}@${ip}` : account);

  return {
    async fromAddress(ip) {
      await takeOrThrow(addresses, ip);
    },
    async attempt(attempt) {
      const allowance = await takeOrThrow(accounts, keyOf(attempt));
      await takeOrThrow(sustained, keyOf(attempt));
      return allowance;
    },
    async succeeded(attempt) {
      await Promise.all([sustained.giveBack(keyOf(attempt)), accounts.giveBack(keyOf(attempt))]);
    },
    register: ip => takeOrThrow(registrations, ip),
    mayMail: async address => (await mails.take(address)).allowed,
  };
}
