#!/usr/bin/env bash
# Baileys gathers events while it catches up and hands them on in one flush.
# Expected: a message and the edit of it are told as a message and an update, or as the message with its newest text.
# Happens: there is one messages.upsert with the id of the original whose body is nothing but an editedMessage; the first text is gone,
# and nothing says that the receiver has never seen the original.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts baileys@7.0.0-rc14 >/dev/null
cat > run.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { makeEventBuffer } from './node_modules/baileys/lib/Utils/event-buffer.js'
const quiet = new Proxy({}, { get: () => () => {} })
const version = JSON.parse(readFileSync('node_modules/baileys/package.json')).version
const events = makeEventBuffer(quiet)
const upserts = [], updates = []
events.process(map => {
  upserts.push(...(map['messages.upsert']?.messages ?? []))
  updates.push(...(map['messages.update'] ?? []))
})
const key = { remoteJid: '5511999990001@s.whatsapp.net', fromMe: false, id: '3EB0000000000000000002' }
events.buffer()
events.emit('messages.upsert', { messages: [{ key, message: { conversation: 'two boxes' }, messageTimestamp: 1750000000 }], type: 'notify' })
events.emit('messages.update', [{ key, update: { message: { editedMessage: { message: { conversation: 'three boxes' } } }, messageTimestamp: 1750000009 } }])
events.flush()
await new Promise(done => setTimeout(done, 50))
const bodies = upserts.map(one => one.message)
console.log(`baileys ${version}: ${upserts.length} upsert ${JSON.stringify(bodies)}, ${updates.length} updates`)
process.exit(JSON.stringify(bodies) === '[{"editedMessage":{"message":{"conversation":"three boxes"}}}]' && updates.length === 0 ? 0 : 1)
JS
node run.mjs
