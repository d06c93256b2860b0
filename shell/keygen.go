package shell

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/pflag"

	"kxsh/elf"
)

var keygenCommand = Command{
	Name:     "keygen",
	Synopsis: "[-t ed25519|rsa] [--trust] [FILE]",
	Short:    "make a key to sign images and libraries with",
	Long: `Writes the private key to FILE, which only you can read, and the public one to FILE.pub. Without FILE it is the key
that sign takes by default, sign.key in the folder of the configuration file. Files that are there are not overwritten. With --trust the
public key also goes into the trust store, under the name of FILE. Prints the key's kind and ID.`,
	Examples: []string{"keygen --trust", "keygen -t rsa release.key"},
	Flags: func(f *pflag.FlagSet) {
		f.StringP("type", "t", "ed25519", "ed25519, or rsa: 3072 bits")
		f.Bool("trust", false, "trust what it signs")
	},
	FlagArgs: map[string]Kind{"type": Choice},
	Choices:  []string{"ed25519", "rsa"},
	Args:     File,
	Run:      keygen,
}

const rsaBits = 3072

func keygen(c *Call) error {
	if err := c.want(0, 1); err != nil {
		return err
	}
	path := c.shell.cfg.SignKey
	if len(c.Args) == 1 {
		path = c.Path(c.Args[0])
	}
	private, err := newKey(c.flagString("type"))
	if err != nil {
		return err
	}
	public, err := elf.NewKey(private.Public())
	if err != nil {
		return err
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		return err
	}
	if len(c.Args) == 0 {
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			return fmt.Errorf("%s: %w", filepath.Dir(path), errno(err))
		}
	}
	publicPEM := pem.EncodeToMemory(&pem.Block{Type: publicBlock, Bytes: public.DER()})
	made := []string{}
	write := func(path string, data []byte, mode os.FileMode) {
		if err != nil {
			return
		}
		if err = writeNew(path, data, mode); err != nil {
			err = fmt.Errorf("%s: %w", path, err)
			return
		}
		made = append(made, path)
	}
	write(path, pem.EncodeToMemory(&pem.Block{Type: privateBlock, Bytes: der}), 0o600)
	write(path+publicExt, publicPEM, 0o644)
	if c.flagBool("trust") && err == nil {
		dir := c.shell.cfg.TrustDir
		if err = os.MkdirAll(dir, 0o700); err != nil {
			err = fmt.Errorf("trust store: %s: %w", dir, errno(err))
		}
		write(filepath.Join(dir, strings.TrimSuffix(filepath.Base(path), ".key")+publicExt), publicPEM, 0o644)
	}
	if err != nil {
		for _, path := range made {
			os.Remove(path)
		}
		return err
	}
	_, err = fmt.Fprintf(c.Stdout, "%s %s\n", path, public)
	return err
}

func newKey(kind string) (crypto.Signer, error) {
	switch kind {
	case "ed25519":
		_, key, err := ed25519.GenerateKey(rand.Reader)
		return key, err
	case "rsa":
		return rsa.GenerateKey(rand.Reader, rsaBits)
	}
	return nil, usagef("-t %s: ed25519 or rsa", kind)
}
