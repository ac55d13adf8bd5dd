import { createRateLimiter, takeOrThrow, type Allowance } from '../rateLimiter.js';

interface LoginLimitSettings {
  loginPerAccountPerMinute: number;
  loginPerIpPerMinute: number;
  now?: () => number;
}

export interface LoginLimits {
  /** Counts an attempt on an account, known or not. Rejects with `rate-limited`. */
  attempt(account: string, ip: string): Allowance;
  /** The password was right: whoever knows it is not guessing, and is not slowed by those who are. */
  succeeded(account: string): void;
  /** A new account costs a password hash too. */
  register(ip: string): Allowance;
}

export function createLoginLimits(settings: LoginLimitSettings): LoginLimits {
  const { now } = settings;
  const clock = now && { now };
  const accounts = createRateLimiter({ perMinute: settings.loginPerAccountPerMinute, ...clock });
  const addresses = createRateLimiter({ perMinute: settings.loginPerIpPerMinute, ...clock });
  const registrations = createRateLimiter({ perMinute: settings.loginPerIpPerMinute, ...clock });
  return {
    attempt(account, ip) {
      takeOrThrow(addresses, ip);
      return takeOrThrow(accounts, account.toLowerCase());
    },
    succeeded: account => accounts.giveBack(account.toLowerCase()),
    register: ip => takeOrThrow(registrations, ip),
  };
}
