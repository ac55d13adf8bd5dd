/** What an agent downloads and verifies before a server counts as installed. */
export interface Artifact {
  url: string;
  /** Lower-case hex. The agent checks the strongest; none only where the upstream publishes none. */
  sha512?: string;
  sha256?: string;
  sha1?: string;
  md5?: string;
  /** Bytes; larger bodies are refused while they arrive. */
  size?: number;
  /** What the agent does with it; `jar` when absent. */
  kind?: 'jar' | 'forge-installer' | 'build-tools';
  /** The lowest Java that its server runs on, where the upstream says so. BuildTools take this one, and not any newer. */
  javaMajor?: number;
  /** Whom the download names to its host; of upstreams only. */
  contact?: string;
}

/** The columns of a server that say what it runs. */
export interface ArtifactQuery {
  server_type: string;
  version: string;
  jar_url: string | null;
  jar_sha256: string | null;
}

/** A Minecraft version that a source has a server for. */
export interface ServerVersion {
  version: string;
  /** It is a release of Minecraft, not a snapshot or pre-release. */
  stable: boolean;
  /** The lowest Java that it runs on, where the upstream's list says so. */
  java_major?: number;
}

/** Where the servers of one type come from. One file a type. */
export interface ArtifactSource {
  /**
   * Null when the source does not have that version. Rejects with `upstream-failed` when it can't be asked.
   * Idempotent, and free of effects: the download is the agent's.
   */
  find(query: ArtifactQuery, signal?: AbortSignal): Promise<Artifact | null>;
  /** Newest first. Rejects with `upstream-failed`. */
  versions(signal?: AbortSignal): Promise<ServerVersion[]>;
}
