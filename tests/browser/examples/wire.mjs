// A wire between a page and the server: a TCP proxy that can be cut, mended, and held.

import { once } from "node:events";
import { connect, createServer } from "node:net";

export class Wire {
  pairs = new Set();
  held = false;

  /** A wire to `host`, `IP:PORT`; pages reach it at `url`. */
  static async to(host) {
    const wire = new Wire();
    [wire.address, wire.port] = host.split(":");
    await wire.listen(0);
    wire.own = wire.server.address().port;
    wire.url = `http://127.0.0.1:${wire.own}`;
    return wire;
  }

  async listen(port) {
    this.server = createServer((page) => this.join(page)).listen(port, "127.0.0.1");
    await once(this.server, "listening");
  }

  join(page) {
    const server = connect(this.port, this.address), pair = [page, server];
    this.pairs.add(pair);
    page.pipe(server);
    server.on("data", (data) => {
      page.write(data);
      if (this.held) server.pause();
    });
    const end = () => {
      this.pairs.delete(pair);
      page.destroy();
      server.destroy();
    };
    // What failed is over; that is all there is to do about it.
    for (const side of pair) side.on("error", end).on("close", end);
  }

  /** Ends every connection and takes no further one. */
  async cut() {
    if (!this.server.listening) return;
    this.server.close();
    for (const [page] of this.pairs) page.destroy();
    await once(this.server, "close");
  }

  mend = () => this.listen(this.own);

  /** Reads nothing more of what the server sends, or of a new connection its beginning only, as for
      a page that has no time. */
  hold() {
    this.held = true;
    for (const [, server] of this.pairs) server.pause();
  }

  release() {
    this.held = false;
    for (const [, server] of this.pairs) server.resume();
  }
}
