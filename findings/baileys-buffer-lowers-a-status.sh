#!/usr/bin/env bash
# Baileys gathers events while it catches up and hands them on in one flush.
# Expected: of two receipts for one message in a flush the higher one is told, or both in their order.
# Happens: the updates are laid over each other and the last one wins: READ (4) and then DELIVERY_ACK (3) are told as 3 alone.
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
const told = []
events.process(map => { for (const one of map['messages.update'] ?? []) told.push(one.update.status) })
const key = { remoteJid: '5511999990001@s.whatsapp.net', fromMe: true, id: '3EB0000000000000000001' }
events.buffer()
events.emit('messages.update', [{ key, update: { status: 4 } }])
events.emit('messages.update', [{ key, update: { status: 3 } }])
events.flush()
await new Promise(done => setTimeout(done, 50))
console.log(`baileys ${version}: statuses 4 and 3 in one flush are told as ${JSON.stringify(told)}`)
process.exit(JSON.stringify(told) === '[3]' ? 0 : 1)
JS
node run.mjs
