//go:build linux

package esp_test

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/warrenvpn/warren/bench/lab"
	"github.com/warrenvpn/warren/esp"
)

// question is what testdata/scapy_esp.py is asked; answer what it says.
type question struct {
	Do       string `json:"do"`
	SPI      uint32 `json:"spi"`
	Crypt    string `json:"crypt"`
	CryptKey string `json:"crypt_key"`
	Auth     string `json:"auth"`
	AuthKey  string `json:"auth_key"`
	ESN      bool   `json:"esn"`
	Seq      uint64 `json:"seq"`
	Packet   string `json:"packet"`
}

type answer struct {
	Packet string `json:"packet"`
	Error  string `json:"error"`
}

// askScapy has scapy answer all questions in one run of Python.
func askScapy(t *testing.T, questions []question) []answer {
	t.Helper()
	var in, stderr bytes.Buffer
	for _, q := range questions {
		line, err := json.Marshal(q)
		if err != nil {
			t.Fatal(err)
		}
		in.Write(append(line, '\n'))
	}
	cmd := exec.CommandContext(t.Context(), lab.Python, "testdata/scapy_esp.py")
	cmd.Stdin, cmd.Stderr = &in, &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("scapy: %v\n%s", err, stderr.Bytes())
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) != len(questions) {
		t.Fatalf("scapy answered %d of %d questions:\n%s", len(lines), len(questions), stderr.Bytes())
	}
	answers := make([]answer, len(lines))
	for i, line := range lines {
		if err := json.Unmarshal([]byte(line), &answers[i]); err != nil {
			t.Fatalf("scapy: %q: %v", line, err)
		}
	}
	return answers
}

// scapySuite fills in the algorithms of a suite as scapy calls them.
func scapySuite(s esp.Suite, key []byte) question {
	var q question
	switch {
	case s == esp.ChaCha20Poly1305:
		q.Crypt, q.CryptKey = "CHACHA20-POLY1305", hex.EncodeToString(key)
	case s.AEAD():
		q.Crypt, q.CryptKey = "AES-GCM", hex.EncodeToString(key)
	default:
		name, hash, _ := strings.Cut(s.String(), "-")
		n := map[string]int{"aes128": 16, "aes192": 24, "aes256": 32}[name]
		q.Crypt, q.CryptKey, q.AuthKey = "AES-CBC", hex.EncodeToString(key[:n]), hex.EncodeToString(key[n:])
		q.Auth = map[string]string{"sha1": "HMAC-SHA1-96", "sha256": "SHA2-256-128", "sha384": "SHA2-384-192", "sha512": "SHA2-512-256"}[hash]
	}
	return q
}

// scapyCase is one SA: what it seals scapy opens, and the other way round.
type scapyCase struct {
	name string
	cfg  esp.Config
	// start is a number that both sides count as seen.
	start uint64
}

func scapyCases() (cases []scapyCase) {
	for _, s := range esp.Suites() {
		cfg := esp.Config{SPI: 0x7000 + uint32(s), Suite: s, Key: keyOf(s), ReplayWindow: 128, IVBase: 0x1122334455667788}
		cases = append(cases, scapyCase{fmt.Sprintf("%v/esn=false", s), cfg, 0})
		cfg.ESN, cfg.SPI = true, cfg.SPI+0x100
		cases = append(cases, scapyCase{fmt.Sprintf("%v/esn=true", s), cfg, 0})
		cfg.SPI += 0x100
		cases = append(cases, scapyCase{fmt.Sprintf("%v/esn=true, next subspace", s), cfg, 1<<32 - 3})
	}
	return cases
}

// TestScapyOpensWhatWeSeal also has scapy refuse the same packet with one bit changed.
func TestScapyOpensWhatWeSeal(t *testing.T) {
	lab.Require(t, "scapy")
	var questions []question
	var names []string
	var want [][]byte
	for _, c := range scapyCases() {
		out, err := esp.NewOutbound(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		scratch := esp.NewScratch()
		skip := out.Reserve(int(c.start))
		skip.End()
		run := out.Reserve(6)
		for i := range 6 {
			inner, next := innerUDP(t, i%2 == 0, bytes.Repeat([]byte{byte(i)}, 1+i*i*20))
			q := scapySuite(c.cfg.Suite, c.cfg.Key)
			q.Do, q.SPI, q.ESN, q.Seq = "open", c.cfg.SPI, c.cfg.ESN, run.First()
			b := make([]byte, out.SealedLen(len(inner)))
			copy(b[out.HeaderLen():], inner)
			run.Seal(scratch, b, len(inner), next)
			if i == 5 {
				b[len(b)-1] ^= 1
				inner = nil
			}
			q.Packet = hex.EncodeToString(b)
			questions, names, want = append(questions, q), append(names, c.name), append(want, inner)
		}
		run.End()
	}
	for i, a := range askScapy(t, questions) {
		switch {
		case want[i] == nil && !strings.HasPrefix(a.Error, "IPSecIntegrityError"):
			t.Errorf("%s, packet %d, damaged: scapy says %q %s", names[i], i%6, a.Error, a.Packet)
		case want[i] != nil && a.Packet != hex.EncodeToString(want[i]):
			t.Errorf("%s, packet %d: scapy says %q\n%s, want\n%x", names[i], i%6, a.Error, a.Packet, want[i])
		}
	}
}

func TestWeOpenWhatScapySeals(t *testing.T) {
	lab.Require(t, "scapy")
	var questions []question
	var want [][]byte
	cases := scapyCases()
	for _, c := range cases {
		for i := range 6 {
			inner, _ := innerUDP(t, i%2 == 1, bytes.Repeat([]byte{byte(i)}, 1+i*i*20))
			q := scapySuite(c.cfg.Suite, c.cfg.Key)
			q.Do, q.SPI, q.ESN, q.Seq, q.Packet = "seal", c.cfg.SPI, c.cfg.ESN, c.start+1+uint64(i), hex.EncodeToString(inner)
			questions, want = append(questions, q), append(want, inner)
		}
	}
	answers := askScapy(t, questions)
	scratch, batch := esp.NewScratch(), new(esp.Batch)
	for k, c := range cases {
		in, err := esp.NewInbound(c.cfg)
		if err != nil {
			t.Fatal(err)
		}
		for i := range 6 { // one by one, so that the window learns when the next subspace begins
			a, seq := answers[6*k+i], c.start+1+uint64(i)
			b, err := hex.DecodeString(a.Packet)
			if err != nil || len(b) < 8 {
				t.Fatalf("%s: scapy says %q", c.name, a.Error)
			}
			if low := binary.BigEndian.Uint32(b[4:]); low != uint32(seq) {
				t.Fatalf("%s: scapy sealed number %d, want %d", c.name, low, uint32(seq))
			}
			batch.Reset()
			batch.Add(b)
			in.OpenBatch(scratch, batch)
			off, n, v := batch.Result(0)
			if v != esp.OK || !bytes.Equal(b[off:off+n], want[6*k+i]) {
				t.Errorf("%s, packet %d: %v: opened\n%x, want\n%x", c.name, i, v, b[off:off+n], want[6*k+i])
			}
			if got := in.Received(); got != seq {
				t.Errorf("%s: received %#x, want %#x", c.name, got, seq)
			}
		}
	}
}
