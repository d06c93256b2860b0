package shell

import (
	"crypto"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"kxsh/elf"
	"kxsh/engine"
)

const (
	keyFileMax = 64 << 10 // bytes
	keysMax    = 256      // in a trust store
	publicExt  = ".pub"

	privateBlock = "PRIVATE KEY" // PKCS #8
	publicBlock  = "PUBLIC KEY"  // PKIX
)

// openRegular is engine.OpenRegular of a file of at most limit bytes. flags may forbid symbolic links.
func openRegular(path string, flags int, limit int64) (*os.File, fs.FileInfo, error) {
	f, fi, err := engine.OpenRegular(path, flags)
	switch {
	case errors.Is(err, syscall.ELOOP):
		return nil, nil, errors.New("a symbolic link: name the file itself")
	case err != nil:
		return nil, nil, err
	case fi.Size() > limit:
		f.Close()
		return nil, nil, fmt.Errorf("%d bytes: at most %d are taken", fi.Size(), limit)
	}
	return f, fi, nil
}

// readRegular reads all of what openRegular opens.
func readRegular(path string, flags int, limit int64) ([]byte, fs.FileInfo, error) {
	f, fi, err := openRegular(path, flags, limit)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return nil, nil, errno(err)
	}
	return data, fi, nil
}

// readPEM reads the one block of a file, of that type. check looks at owner and mode of what was opened.
func readPEM(path, block string, check func(fs.FileInfo) error) ([]byte, error) {
	data, fi, err := readRegular(path, 0, keyFileMax)
	if err == nil {
		err = check(fi)
	}
	if err != nil {
		return nil, err
	}
	b, rest := pem.Decode(data)
	switch {
	case b == nil:
		return nil, errors.New("not a key in PEM form: keygen makes one")
	case b.Type != block && b.Type == privateBlock:
		return nil, fmt.Errorf("a private key: give the public one, FILE%s", publicExt)
	case b.Type != block && b.Type == publicBlock:
		return nil, fmt.Errorf("a public key: give the private one, without %s", publicExt)
	case b.Type != block:
		return nil, fmt.Errorf("PEM of type %q, want %q", b.Type, block)
	case len(strings.TrimSpace(string(rest))) > 0:
		return nil, errors.New("more than one key: give each a file of its own")
	}
	return b.Bytes, nil
}

// readPublic reads a public key.
func readPublic(path string, check func(fs.FileInfo) error) (*elf.Key, error) {
	der, err := readPEM(path, publicBlock, check)
	if err != nil {
		return nil, err
	}
	return elf.ParseKey(der)
}

// readPrivate reads a private key that nobody else can.
func readPrivate(path string) (crypto.Signer, error) {
	der, err := readPEM(path, privateBlock, func(fi fs.FileInfo) error {
		if mode := fi.Mode().Perm(); mode&0o077 != 0 {
			return fmt.Errorf("mode %04o lets others at a private key: chmod 600", mode)
		}
		return ownedByUs(fi)
	})
	if err != nil {
		return nil, err
	}
	key, err := x509.ParsePKCS8PrivateKey(der)
	if err != nil {
		return nil, fmt.Errorf("not a private key: %v", err)
	}
	signer, ok := key.(crypto.Signer)
	if !ok {
		return nil, errors.New("a key that cannot sign: Ed25519 or RSA")
	}
	return signer, nil
}

// ownedByUs refuses what somebody else could change.
func ownedByUs(fi fs.FileInfo) error {
	if uid := int(fi.Sys().(*syscall.Stat_t).Uid); uid != os.Geteuid() && uid != 0 {
		return fmt.Errorf("belongs to user %d, who could change it", uid)
	}
	return nil
}

// trusted refuses what others could put keys into.
func trusted(fi fs.FileInfo) error {
	if mode := fi.Mode().Perm(); mode&0o022 != 0 {
		return fmt.Errorf("mode %04o lets others change it: chmod go-w", mode)
	}
	return ownedByUs(fi)
}

// anyMode takes a file that the user has named.
func anyMode(fs.FileInfo) error { return nil }

// trustStore is a set of public keys and what they are called.
type trustStore struct {
	keys  []*elf.Key
	names map[elf.KeyID]string
}

func (t *trustStore) add(k *elf.Key, name string) {
	t.keys = append(t.keys, k)
	t.names[k.ID] = name
}

// trust reads the keys to check against: the one in file, or if that is empty those of the trust store, NAME.pub. A store that is not
// there is empty; a file in it that is no key, or not safe, is an error.
func (c *Call) trust(file string) (*trustStore, error) {
	t := &trustStore{names: map[elf.KeyID]string{}}
	if file != "" {
		k, err := readPublic(c.Path(file), anyMode)
		if err != nil {
			return nil, fmt.Errorf("--key %s: %w", file, err)
		}
		t.add(k, file)
		return t, nil
	}
	dir := c.shell.cfg.TrustDir
	bad := func(path string, err error) (*trustStore, error) {
		return nil, fmt.Errorf("trust store: %s: %w", path, errno(err))
	}
	fi, err := os.Stat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return t, nil
	}
	if err == nil {
		err = trusted(fi)
	}
	if err != nil {
		return bad(dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return bad(dir, err)
	}
	for _, entry := range entries {
		if !strings.HasSuffix(entry.Name(), publicExt) {
			continue
		}
		if len(t.keys) == keysMax {
			return bad(dir, fmt.Errorf("more than %d keys", keysMax))
		}
		path := filepath.Join(dir, entry.Name())
		k, err := readPublic(path, trusted)
		if err != nil {
			return bad(path, err)
		}
		t.add(k, strings.TrimSuffix(entry.Name(), publicExt))
	}
	return t, nil
}

// writeNew writes a file that must not be there yet.
func writeNew(path string, data []byte, mode fs.FileMode) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if errors.Is(err, fs.ErrExist) {
		return errors.New("is there already: name another file, or remove it")
	}
	if err != nil {
		return errno(err)
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		os.Remove(path)
		return errno(err)
	}
	return nil
}
