package main

import (
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/warrenvpn/warren"
)

// newKeyCommands are genkey, pubkey and genpsk, as wg(8) has them.
func newKeyCommands() []*cobra.Command {
	generate := func(use, short string, make func() (string, error)) *cobra.Command {
		return &cobra.Command{Use: use, Short: short, RunE: func(cmd *cobra.Command, _ []string) error {
			key, err := make()
			if err != nil {
				return err
			}
			_, err = fmt.Fprintln(cmd.OutOrStdout(), key)
			return err
		}}
	}
	return []*cobra.Command{
		generate("genkey", "Make a WireGuard private key", warren.GenKey),
		generate("genpsk", "Make a WireGuard preshared key", warren.GenPSK),
		{
			Use:     "pubkey",
			Short:   "Print the public key of the private key on standard input",
			Example: "  warren genkey | tee private.key | warren pubkey > public.key",
			RunE: func(cmd *cobra.Command, _ []string) error {
				text, err := io.ReadAll(io.LimitReader(cmd.InOrStdin(), 1<<10))
				if err != nil {
					return fmt.Errorf("read the private key: %w", err)
				}
				public, err := warren.PublicKey(string(text))
				if err != nil {
					return fmt.Errorf("read standard input: %w", err)
				}
				_, err = fmt.Fprintln(cmd.OutOrStdout(), public)
				return err
			},
		},
	}
}

func newImport() *cobra.Command {
	return &cobra.Command{
		Use:   "import FILE.conf",
		Short: "Print the YAML for a wg-quick file, its keys included",
		RunE: func(cmd *cobra.Command, args []string) error {
			yaml, warnings, err := warren.ImportQuick(args[0])
			if err != nil {
				return err
			}
			for _, w := range warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warren:", w)
			}
			_, err = cmd.OutOrStdout().Write(yaml)
			return err
		},
	}
}
