package ike

import (
	"bytes"
	"slices"
	"testing"
	"time"

	"github.com/warrenvpn/warren/tunnel/ike/message"
)

// replies are the datagrams that a node sends when it receives one.
func (n *network) replies(to *node, k packet) (sent [][]byte) {
	for _, a := range to.Receive(n.now, k.to, k.from, k.natt, k.data) {
		switch a := a.(type) {
		case Send:
			sent = append(sent, a.Datagram)
		case IKEKeys: // of another IKE_SA_INIT
		default:
			n.t.Errorf("%s: %T for a message that is not new", to.name, a)
		}
	}
	return sent
}

// TestOnlyARepetitionGetsTheOldAnswer: a request with the last one's message ID gets that one's answer if it has the same octets
// (RFC 7296 section 2.1), and otherwise none, be it authentic or not.
func TestOnlyARepetitionGetsTheOldAnswer(t *testing.T) {
	for _, fragments := range []bool{false, true} {
		p := newPair(t, 31)
		if fragments {
			p.moon.cfg.FragmentSize, p.sun.cfg.FragmentSize = 300, 300
			p.moonCfg.Children[0].Proposals = espList(t, "default,aes128-sha256,aes256gcm16")
		}
		var request []packet
		var answer [][]byte
		p.filter = func(k *packet) bool {
			h, err := message.ParseHeader(k.data)
			if err != nil {
				t.Fatal(err)
			}
			if h.Exchange == message.CreateChildSA && h.Response() {
				answer = append(answer, k.data)
			} else if h.Exchange == message.CreateChildSA {
				request = append(request, *k)
			}
			return true
		}
		p.up()
		asker := onlySA(t, p.moon)
		// The rekeying deletes the old child SA afterwards, which is another request: that is lost.
		rekeyed := p.filter
		p.filter = func(k *packet) bool {
			h, _ := message.ParseHeader(k.data)
			return rekeyed(k) && h.Exchange != message.Informational
		}
		p.moon.must(p.moon.Rekey(p.now, "sun", "net"))
		p.run(time.Second)
		if len(request) == 0 || len(answer) == 0 || (len(request) > 1) != fragments {
			t.Fatalf("the request is in %d datagrams, its answer in %d", len(request), len(answer))
		}
		for i, k := range request {
			want := answer
			if i > 0 {
				want = nil // the first fragment speaks for all (RFC 7383 section 2.6.1)
			}
			if got := p.replies(p.sun, k); !slices.EqualFunc(got, want, bytes.Equal) {
				t.Errorf("fragments %v: datagram %d again: %d datagrams for an answer, want the %d of before", fragments, i, len(got), len(want))
			}
		}
		h, _ := message.ParseHeader(request[0].data)
		authentic, err := asker.protect(message.Informational, h.MessageID, false, nil)
		if err != nil {
			t.Fatal(err)
		}
		again, err := asker.protect(h.Exchange, h.MessageID, false, []message.Payload{&message.Nonce{Data: make([]byte, nonceLen)}})
		if err != nil {
			t.Fatal(err)
		}
		var others [][]byte
		for at := range request[0].data {
			other := bytes.Clone(request[0].data)
			other[at] ^= 1
			others = append(others, other)
		}
		others = append(others, authentic[0], again[0], append(bytes.Clone(request[0].data), 0), request[0].data[:message.HeaderLen])
		for i, other := range others {
			k := request[0]
			k.data = other
			if got := p.replies(p.sun, k); len(got) != 0 {
				t.Errorf("fragments %v: %d of %d: %d datagrams for an answer to what is no repetition", fragments, i, len(others), len(got))
			}
		}
		p.filter = nil
		p.run(time.Minute)
		p.agree(1)
	}
}

// TestOnlyARepeatedInitGetsTheOldAnswer: another IKE_SA_INIT request with the SPI of one is another one, and what bears its
// message ID and is not IKE_SA_INIT is not answered with it.
func TestOnlyARepeatedInitGetsTheOldAnswer(t *testing.T) {
	p := newPair(t, 32)
	p.add()
	k := packet{from: p.moon.addr, to: p.sun.addr, data: floodRequest(t, 7, p.sunCfg.Proposals)}
	first := p.replies(p.sun, k)
	if len(first) != 1 {
		t.Fatalf("%d answers to an IKE_SA_INIT request", len(first))
	}
	if again := p.replies(p.sun, k); len(again) != 1 || !bytes.Equal(again[0], first[0]) || len(p.sun.Endpoint.sas) != 1 {
		t.Errorf("a repetition: %d datagrams for an answer, %d IKE SAs", len(again), len(p.sun.Endpoint.sas))
	}
	answered, err := message.ParseHeader(first[0])
	if err != nil {
		t.Fatal(err)
	}
	zeroth := message.Message{Header: answered}
	zeroth.Flags, zeroth.Exchange = message.FlagInitiator, message.IKEAuth
	strange := k
	if strange.data, err = zeroth.Append(nil); err != nil {
		t.Fatal(err)
	}
	if got := p.replies(p.sun, strange); len(got) != 0 {
		t.Errorf("%d datagrams for an answer to an IKE_AUTH request with the message ID 0", len(got))
	}
	k.data = floodRequest(t, 7, p.sunCfg.Proposals) // with another KE
	other := p.replies(p.sun, k)
	if len(other) != 1 || len(p.sun.Endpoint.sas) != 2 {
		t.Fatalf("another request with the same SPI: %d datagrams for an answer, %d IKE SAs", len(other), len(p.sun.Endpoint.sas))
	}
	if h, err := message.ParseHeader(other[0]); err != nil || h.SPIr == answered.SPIr {
		t.Errorf("another request is answered from memory: %v", err)
	}
}
