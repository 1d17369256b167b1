package ike

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// A forged request or answer is protected with the right keys: what stands in it is anything.
func (sa *ikeSA) forge(exchange message.ExchangeType, id uint32, response bool, first message.PayloadType, content []byte) []byte {
	start, err := message.AppendSK(nil, sa.header(exchange, id, response), nil, first, sa.sec.sealer.BodyLen(len(content)))
	if err != nil {
		return nil
	}
	sealed, _ := sa.sec.sealer.Seal(start, content)
	return sealed
}

// newestSA is an IKE SA of a node.
func newestSA(nd *node) *ikeSA {
	var newest *ikeSA
	for _, sa := range nd.Endpoint.sas {
		if newest == nil || sa.number > newest.number || sa.number == newest.number && sa.life.established.After(newest.life.established) {
			newest = sa
		}
	}
	return newest
}

// FuzzBehindDecryption gives the machine what an authenticated peer may send: requests and answers in any state of an IKE
// SA, their payloads mutated. It must neither panic nor keep SPIs when all is over.
func FuzzBehindDecryption(f *testing.F) {
	add := func(payloads ...message.Payload) {
		b, err := message.AppendPayloads(nil, payloads)
		if err != nil {
			f.Fatal(err)
		}
		for _, exchange := range []message.ExchangeType{message.IKEAuth, message.CreateChildSA, message.Informational, message.IKEFollowupKE} {
			f.Add(byte(exchange), uint16(0x5a31), byte(message.FirstKind(payloads)), b)
		}
	}
	list, esp := ikeList(f, "aes256gcm16-prfsha256-curve25519"), espList(f, "aes256gcm16-curve25519,aes256gcm16")
	nonce, ke := &message.Nonce{Data: bytes.Repeat([]byte{1}, 32)}, &message.KE{Method: 31, Data: bytes.Repeat([]byte{9}, 32)}
	spi := binary.BigEndian.AppendUint32(nil, 0x770001)
	tsi, tsr := &message.TSi{Selectors: ts("10.1.0.0/16")}, &message.TSr{Selectors: ts("10.2.0.0/16")}
	add(&message.SA{Proposals: esp.Offer(spi)}, nonce, ke, tsi, tsr)
	add(message.NotifySPI(message.RekeySA, message.ProtocolESP, 0x0b0001), &message.SA{Proposals: esp.Offer(spi)}, nonce, ke, tsi, tsr)
	add(&message.SA{Proposals: list.Offer(bytes.Repeat([]byte{3}, 8))}, nonce, ke)
	add(&message.Delete{Protocol: message.ProtocolESP, SPIs: []uint32{0x0b0001, 0x0a0001}})
	add(&message.Delete{Protocol: message.ProtocolIKE})
	add(&message.Notify{Type: message.TemporaryFailure})
	add(&message.Notify{Type: message.NoAdditionalSAs})
	add(authLifetimeNotify(time.Minute), &message.Notify{Type: message.InvalidSPI, Data: binary.BigEndian.AppendUint32(nil, 0x0b0001)})
	add(message.NotifyUint16s(message.InvalidKEPayload, 19))
	add(&message.IDi{ID: fqdn("moon")}, &message.Auth{Method: message.AuthSharedKey, Data: make([]byte, 32)})
	add()
	f.Fuzz(func(t *testing.T, exchange byte, script uint16, first byte, content []byte) {
		if len(content) > math.MaxUint16/2 {
			return
		}
		p := newPair(t, 60)
		p.moonCfg.Children[0].Proposals = espList(t, "aes256gcm16-curve25519,aes256gcm16")
		p.sunCfg.Children[0].Proposals = p.moonCfg.Children[0].Proposals
		p.add()
		p.moon.must(p.moon.Initiate(p.now, "sun", ""))
		p.run(time.Duration(script&3) * 25 * time.Millisecond) // in the middle of the handshake, or after it
		switch script >> 2 & 7 {
		case 1:
			p.sun.must(p.sun.Rekey(p.now, "moon", "net"))
		case 2:
			p.sun.must(p.sun.Rekey(p.now, "moon", ""))
		case 3:
			p.sun.must(p.sun.Terminate(p.now, "moon", "net"))
		case 4:
			p.sun.must(p.sun.Terminate(p.now, "moon", ""))
		}
		from, to := newestSA(p.moon), newestSA(p.sun)
		if from == nil || to == nil || from.sec.sealer == nil {
			return
		}
		for step := range 2 {
			response, id := script>>5&1 == 1, to.in.next
			if response && to.out.pending != nil {
				id = to.out.pending.id
				if step == 0 {
					exchange = byte(to.out.pending.exchange)
				}
			}
			if d := from.forge(message.ExchangeType(exchange), id, response, message.PayloadType(first), content); d != nil {
				p.sun.do(p.sun.Receive(p.now, p.sun.addr, p.moon.addr, false, d))
			}
			p.run(time.Second)
		}
		for _, nd := range p.nodes {
			for name := range nd.peers {
				nd.must(nd.RemovePeer(p.now, name))
			}
		}
		p.run(10 * time.Minute)
		for _, nd := range p.nodes {
			if err := nd.consistent(); err != nil || len(nd.sas) != 0 {
				t.Errorf("%s: %v, %d child SAs", nd.name, err, len(nd.sas))
			}
		}
	})
}

// FuzzReceive gives the machine datagrams of anybody.
func FuzzReceive(f *testing.F) {
	f.Add(floodRequest(f, 1, ikeList(f, "aes256gcm16-prfsha256-curve25519")))
	f.Fuzz(func(t *testing.T, datagram []byte) {
		p := newPair(t, 61)
		p.up()
		sent := len(find[Send](p.sun))
		p.sun.do(p.sun.Receive(p.now, p.sun.addr, p.moon.addr, false, datagram))
		if n := len(find[Send](p.sun)) - sent; n > 1 {
			t.Errorf("%d datagrams in answer to one", n)
		}
		p.run(5 * time.Minute)
		p.agree(1)
	})
}
