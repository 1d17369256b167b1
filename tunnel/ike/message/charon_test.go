package message

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
)

// A recorded message is one of testdata/charon.txt.
type recorded struct {
	name   string
	header *Header // nil if only the inside is known
	first  PayloadType
	octets []byte
}

func (m recorded) parse() ([]Payload, error) {
	if m.header == nil {
		return ParsePayloads(m.first, m.octets)
	}
	parsed, err := Parse(m.octets)
	if err != nil {
		return nil, err
	}
	*m.header = parsed.Header
	return parsed.Payloads, nil
}

func (m recorded) append(payloads []Payload) ([]byte, error) {
	if m.header == nil {
		return AppendPayloads(nil, payloads)
	}
	return (&Message{Header: *m.header, Payloads: payloads}).Append(nil)
}

func recording(t testing.TB) []recorded {
	t.Helper()
	text, err := os.ReadFile("testdata/charon.txt")
	if err != nil {
		t.Fatal(err)
	}
	var all []recorded
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Split(strings.TrimSpace(line), " | ")
		m := recorded{name: f[0]}
		if f[1] == "wire" {
			m.header = &Header{}
		} else if n, err := strconv.ParseUint(f[1], 10, 8); err == nil {
			m.first = PayloadType(n)
		} else {
			t.Fatal(err)
		}
		if m.octets, err = hex.DecodeString(f[2]); err != nil {
			t.Fatal(err)
		}
		all = append(all, m)
	}
	return all
}

// summary is the payloads in a few words.
func summary(payloads []Payload) string {
	var words []string
	for _, p := range payloads {
		switch p := p.(type) {
		case *SA:
			for _, proposal := range p.Proposals {
				words = append(words, fmt.Sprintf("SA %d/%d:%v", proposal.Number, len(proposal.SPI), proposal))
			}
		case *KE:
			words = append(words, fmt.Sprintf("KE %s/%d", TransformName(TransformKE, p.Method), len(p.Data)))
		case *IDi:
			words = append(words, "IDi "+p.String())
		case *IDr:
			words = append(words, "IDr "+p.String())
		case *Nonce:
			words = append(words, fmt.Sprintf("Nonce/%d", len(p.Data)))
		case *Auth:
			words = append(words, fmt.Sprintf("AUTH %v/%d", p.Method, len(p.Data)))
		case *Notify:
			words = append(words, fmt.Sprintf("N(%v)/%d", p, len(p.Data)))
		case *Delete:
			words = append(words, fmt.Sprintf("D %v/%d", p.Protocol, len(p.SPIs)))
		case *TSi:
			words = append(words, fmt.Sprint("TSi ", p.Selectors))
		case *TSr:
			words = append(words, fmt.Sprint("TSr ", p.Selectors))
		case *CP:
			words = append(words, fmt.Sprint("CP ", p.Type))
			for _, a := range p.Attributes {
				words = append(words, fmt.Sprintf("%v=%x", a.Type, a.Value))
			}
		default:
			words = append(words, fmt.Sprintf("%+v", p))
		}
	}
	return strings.Join(words, "\n")
}

// TestCharon parses what strongSwan sent, and appends it again octet by octet.
func TestCharon(t *testing.T) {
	said := charonSaid(t)
	for _, m := range recording(t) {
		t.Run(m.name, func(t *testing.T) {
			payloads, err := m.parse()
			if err != nil {
				t.Fatal(err)
			}
			if got := summary(payloads); got != said[m.name] || got == "" {
				t.Errorf("got\n%s\nwant\n%s", got, said[m.name])
			}
			again, err := m.append(payloads)
			if err != nil || !bytes.Equal(again, m.octets) {
				t.Errorf("appended\n%x\nwant\n%x\n%v", again, m.octets, err)
			}
		})
	}
}

// charonSaid returns what charon logged of its messages, in our words, by name.
func charonSaid(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile("testdata/charon.want")
	if err != nil {
		t.Fatal(err)
	}
	said := map[string]string{}
	for _, part := range strings.Split(string(text), "== ")[1:] {
		name, words, _ := strings.Cut(part, "\n")
		said[name] = strings.TrimSpace(words)
	}
	return said
}
