package quick

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"testing"
)

// wg runs the real program; without it a privileged run fails, since then nothing compares us with it.
func wg(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	path, err := exec.LookPath("wg")
	if err != nil {
		if os.Geteuid() == 0 {
			t.Fatal("wg of wireguard-tools is missing")
		}
		t.Skip("needs wg of wireguard-tools")
	}
	cmd := exec.CommandContext(t.Context(), path, args...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("wg %v: %v", args, err)
	}
	return strings.TrimSpace(string(out))
}

func TestKeysAsWg(t *testing.T) {
	for range 8 {
		k, err := GenKey()
		if err != nil {
			t.Fatal(err)
		}
		if k[0]&7 != 0 || k[31]&0xc0 != 0x40 || k != k.Clamp() {
			t.Fatal("a generated key is not clamped")
		}
		if got, want := k.Public().String(), wg(t, k.Base64(), "pubkey"); got != want {
			t.Fatalf("public key %s, wg says %s", got, want)
		}
		// Clamping changes no public key: a key not clamped is as good.
		psk, err := GenPSK()
		if err != nil {
			t.Fatal(err)
		}
		if got, want := psk.Public().String(), wg(t, psk.Base64(), "pubkey"); got != want {
			t.Fatalf("public key of an unclamped key %s, wg says %s", got, want)
		}
		theirs := wg(t, "", "genkey")
		parsed, err := ParseKey(theirs)
		if err != nil || parsed.Base64() != theirs || parsed != parsed.Clamp() || parsed[0]&7 != 0 {
			t.Fatalf("wg genkey's key: %v", err)
		}
	}
}

// The key pair of RFC 7748 section 6.1.
func TestPublicVector(t *testing.T) {
	private, err := hex.DecodeString("77076d0a7318a57d3c16c17251b26645df4c2f87ebc0992ab177fba51db92c2a")
	if err != nil {
		t.Fatal(err)
	}
	const want = "8520f0098930a754748b7ddcb43ef75a0dbf3a0d26381af4eba4a98eaa9b4e6a"
	public := Key(private).Public()
	if got := hex.EncodeToString(public[:]); got != want {
		t.Fatalf("public key %s, want %s", got, want)
	}
}

func TestParseKeyStrict(t *testing.T) {
	good := "yAnz5TF+lXXJte14tji3zlMNq+hd2rYUIgJBgB3fBmk="
	if k, err := ParseKey(good); err != nil || k.Base64() != good {
		t.Fatalf("%v", err)
	}
	for _, bad := range []string{
		"", good[:43], good[:42] + "l=", good + "\n", good + "=", " " + good[1:], good[:43] + "A", good[:20] + "\n" + good[21:],
		good[:10] + "-" + good[11:], good[:42] + "==", strings.Repeat("A", 44), "\r\n" + good[2:],
	} {
		if _, err := ParseKey(bad); !errors.Is(err, ErrKey) {
			t.Errorf("%q: %v, want ErrKey", bad, err)
		} else if len(bad) > 20 && strings.Contains(err.Error(), bad[:20]) {
			t.Errorf("the error shows the key: %v", err)
		}
	}
}

func TestSecretsDoNotPrint(t *testing.T) {
	k, err := GenKey()
	if err != nil {
		t.Fatal(err)
	}
	c := Config{Interface: Interface{PrivateKey: k}, Peers: []Peer{{PresharedKey: k}}}
	var out strings.Builder
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%X", "%d", "%t", "%08b"} {
		fmt.Fprintf(&out, verb+"\n", k)
		fmt.Fprintf(&out, verb+"\n", &k)
		fmt.Fprintf(&out, verb+"\n", c)
		fmt.Fprintf(&out, verb+"\n", []Key{k})
	}
	b, err := json.Marshal(c)
	if err != nil {
		t.Fatal(err)
	}
	out.Write(b)
	slog.New(slog.NewTextHandler(&out, nil)).Info("m", "key", k, "config", c)
	slog.New(slog.NewJSONHandler(&out, nil)).Info("m", "key", k, "config", c)
	printed, hexed := out.String(), hex.EncodeToString(k[:])
	for _, leak := range []string{k.Base64(), hexed, hexed[:16], strings.ToUpper(hexed[:16]), fmt.Sprint(k[0], k[1], k[2]),
		fmt.Sprintf("%d,%d,%d", k[0], k[1], k[2]), fmt.Sprintf("%#x, %#x", k[0], k[1])} {
		if strings.Contains(strings.ToLower(printed), strings.ToLower(leak)) {
			t.Errorf("a secret was printed as %q", leak)
		}
	}
	if got := fmt.Sprint(k, Key{}); got != "secret none" {
		t.Errorf("prints %q", got)
	}
}
