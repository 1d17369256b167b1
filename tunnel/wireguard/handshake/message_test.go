package handshake

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"golang.zx2c4.com/wireguard/device"
)

func TestConstantsAreThePublished(t *testing.T) {
	for name, c := range map[string]struct{ got, want any }{
		"REKEY-AFTER-MESSAGES":  {uint64(RekeyAfterMessages), uint64(device.RekeyAfterMessages)},
		"REJECT-AFTER-MESSAGES": {uint64(RejectAfterMessages), uint64(device.RejectAfterMessages)},
		"REKEY-AFTER-TIME":      {RekeyAfterTime, device.RekeyAfterTime},
		"REJECT-AFTER-TIME":     {RejectAfterTime, device.RejectAfterTime},
		"REKEY-ATTEMPT-TIME":    {RekeyAttemptTime, device.RekeyAttemptTime},
		"REKEY-TIMEOUT":         {RekeyTimeout, device.RekeyTimeout},
		"KEEPALIVE-TIMEOUT":     {KeepaliveTimeout, device.KeepaliveTimeout},
		"jitter":                {rekeyJitter, (device.RekeyTimeoutJitterMaxMs - 1) * time.Millisecond},
		"cookie":                {CookieRefreshTime, device.CookieRefreshTime},
		"initiations":           {initiationInterval, device.HandshakeInitationRate},
		"initiation":            {InitiationSize, device.MessageInitiationSize},
		"response":              {ResponseSize, device.MessageResponseSize},
		"cookie reply":          {CookieReplySize, device.MessageCookieReplySize},
		"keepalive":             {KeepaliveSize, device.MessageKeepaliveSize},
		"prologue":              {prologue, device.WGIdentifier},
		"MAC1 label":            {labelMAC1, device.WGLabelMAC1},
		"cookie label":          {labelCookie, device.WGLabelCookie},
	} {
		if c.got != c.want {
			t.Errorf("%s: %v, want %v", name, c.got, c.want)
		}
	}
	// The paper's own numbers, so that two do not agree on what is wrong.
	if RejectAfterMessages != 18446744073709543423 || RekeyAfterMessages != 1152921504606846976 {
		t.Error("the limits of messages are not those of the paper's table")
	}
}

// wellFormed has one message of each type, all octets of which differ from zero where they may.
func wellFormed() [][]byte {
	fill := func(b []byte) {
		for i := range b {
			b[i] = byte(i%255 + 1)
		}
	}
	i, r, c := Initiation{Sender: 0x01020304}, Response{Sender: 0x05060708, Receiver: 0x090a0b0c}, CookieReply{Receiver: 0x0d0e0f10}
	for _, b := range [][]byte{i.Noise[:], i.MAC1[:], i.MAC2[:], r.Noise[:], r.MAC1[:], r.MAC2[:], c.Nonce[:], c.Cookie[:]} {
		fill(b)
	}
	transport := make([]byte, KeepaliveSize+16)
	PutTransport(transport, 0x11121314, 0x15161718191a1b1c)
	return [][]byte{i.Append(nil), r.Append(nil), c.Append(nil), transport}
}

func TestMessagesHaveTheLayoutOfThePaper(t *testing.T) {
	all := wellFormed()
	i, r, c := all[0], all[1], all[2]
	if len(i) != InitiationSize || len(r) != ResponseSize || len(c) != CookieReplySize {
		t.Fatalf("sizes %d, %d, %d", len(i), len(r), len(c))
	}
	if !bytes.Equal(i[:9], []byte{1, 0, 0, 0, 4, 3, 2, 1, 1}) || i[116] != 1 || i[132] != 1 {
		t.Errorf("initiation % x", i)
	}
	if !bytes.Equal(r[:13], []byte{2, 0, 0, 0, 8, 7, 6, 5, 0xc, 0xb, 0xa, 9, 1}) || r[60] != 1 || r[76] != 1 {
		t.Errorf("response % x", r)
	}
	if !bytes.Equal(c[:9], []byte{3, 0, 0, 0, 0x10, 0xf, 0xe, 0xd, 1}) || c[32] != 1 {
		t.Errorf("cookie reply % x", c)
	}
	if !bytes.Equal(all[3][:16], []byte{4, 0, 0, 0, 0x14, 0x13, 0x12, 0x11, 0x1c, 0x1b, 0x1a, 0x19, 0x18, 0x17, 0x16, 0x15}) {
		t.Errorf("transport % x", all[3])
	}
	if receiver, counter, ok := ParseTransport(all[3]); !ok || receiver != 0x11121314 || counter != 0x15161718191a1b1c {
		t.Errorf("ParseTransport: %x %x %v", receiver, counter, ok)
	}
}

// checkParsers holds whatever octets against all parsers: one of them accepts if TypeOf does, and writes back what it read.
func checkParsers(t *testing.T, b []byte) {
	kind, ok := TypeOf(b)
	i, errI := ParseInitiation(b)
	r, errR := ParseResponse(b)
	c, errC := ParseCookieReply(b)
	_, _, okT := ParseTransport(b)
	var back []byte
	for _, p := range []struct {
		kind   Type
		parsed bool
		back   func([]byte) []byte
	}{
		{TypeInitiation, errI == nil, i.Append}, {TypeResponse, errR == nil, r.Append},
		{TypeCookieReply, errC == nil, c.Append}, {TypeTransport, okT, func([]byte) []byte { return b }},
	} {
		if p.parsed != (ok && kind == p.kind) {
			t.Fatalf("TypeOf says %v %v, the parser of a %v says %v: % x", kind, ok, p.kind, p.parsed, b)
		}
		if p.parsed {
			back = p.back(nil)
		}
	}
	if ok && !bytes.Equal(back, b) {
		t.Fatalf("a %v changed:\n% x\n% x", kind, b, back)
	}
	for _, err := range []error{errI, errR, errC} {
		if err != nil && !errors.Is(err, ErrMessage) {
			t.Fatalf("%v is not ErrMessage", err)
		}
	}
}

func TestParsersRefuseAllOtherSizesAndReservedOctets(t *testing.T) {
	for _, b := range wellFormed() {
		checkParsers(t, b)
		if _, ok := TypeOf(b); !ok {
			t.Fatalf("refused: % x", b)
		}
		for n := range b {
			checkParsers(t, b[:n])
			if kind, ok := TypeOf(b[:n]); ok && kind != TypeTransport {
				t.Errorf("%v of %d octets", kind, n)
			}
		}
		if kind, ok := TypeOf(append(bytes.Clone(b), 0)); ok && kind != TypeTransport {
			t.Errorf("%v with an octet more", kind)
		}
		for at := 1; at < 4; at++ {
			bad := bytes.Clone(b)
			bad[at] = 0x80
			if _, ok := TypeOf(bad); ok {
				t.Errorf("reserved octet %d is not looked at", at)
			}
			checkParsers(t, bad)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, b := range wellFormed() {
		f.Add(b)
	}
	f.Fuzz(checkParsers)
}

func TestKeysStayOutOfTexts(t *testing.T) {
	private := NewPrivateKey()
	back, err := ParseKey(private.Base64())
	if err != nil || PrivateKey(back) != private {
		t.Errorf("%v", err)
	}
	for _, bad := range []string{"", "x", private.Base64()[1:], private.Base64() + "\n", "AAAA" + private.Base64()} {
		if _, err := ParseKey(bad); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	if private[0]&7 != 0 || private[31]&0xc0 != 0x40 {
		t.Error("not clamped")
	}
	if private.String() != "(private key)" || PresharedKey(private).String() != "(pre-shared key)" {
		t.Error("a key shows itself")
	}
	pair := &Keypair{SendKey: [KeySize]byte{171, 205}, LocalIndex: 1, RemoteIndex: 2}
	for _, text := range []string{fmt.Sprintf("%v", pair), fmt.Sprintf("%+v", EphemeralKeys{Static: private, Ephemeral: private})} {
		if strings.Contains(text, "171 205") || strings.Contains(text, fmt.Sprint(private[0], private[1])) {
			t.Errorf("a key shows itself in %s", text)
		}
	}
}
