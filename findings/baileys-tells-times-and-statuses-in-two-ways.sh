#!/usr/bin/env bash
# A message that Baileys has decoded is written as JSON: once as it is, and once after {...message}, as programs do that add a field to it.
# Expected: the time and the status are the same in both.
# Happens: as it is, the time is a string of digits and the status a name ("1700000000", "SERVER_ACK"). The copy has lost the message's own
# toJSON: the time is an object of two halves ({"low", "high", "unsigned"}), the status a number (2), and ten empty lists have joined them.
set -euo pipefail
dir=$(mktemp -d); trap 'rm -rf "$dir"' EXIT; cd "$dir"
npm init -y >/dev/null
npm install --silent --no-audit --no-fund --ignore-scripts baileys@7.0.0-rc14 >/dev/null
cat > run.mjs <<'JS'
import { readFileSync } from 'node:fs'
import { proto } from './node_modules/baileys/WAProto/index.js'
const version = JSON.parse(readFileSync('node_modules/baileys/package.json')).version
const key = { remoteJid: '5511999990001@s.whatsapp.net', fromMe: true, id: '3EB0000000000000000001' }
const made = { key, message: { conversation: 'oi' }, messageTimestamp: 1700000000, status: 2 }
const message = proto.WebMessageInfo.decode(proto.WebMessageInfo.encode(made).finish())
const told = one => { const { messageTimestamp, status } = JSON.parse(JSON.stringify(one)); return [messageTimestamp, status] }
const lists = Object.values(JSON.parse(JSON.stringify({ ...message }))).filter(value => Array.isArray(value) && !value.length).length
const seen = JSON.stringify([told(message), told({ ...message })])
console.log(`baileys ${version}: time and status as it is and as a copy ${seen}, ${lists} empty lists in the copy`)
process.exit(seen === '[["1700000000","SERVER_ACK"],[{"low":1700000000,"high":0,"unsigned":true},2]]' ? 0 : 1)
JS
node run.mjs
