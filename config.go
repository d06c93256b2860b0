package main

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/spf13/pflag"
	"github.com/spf13/viper"

	"kxsh/engine"
	"kxsh/shell"
	"kxsh/tui"
)

// settings is the configuration: flag, environment, configuration file, default, in this order.
type settings struct {
	hypervisor, socket, state, trust, color, metrics, theme string
	level                                                   slog.Level
	familyLimit                                             int
	noStart                                                 bool

	list []shell.Setting // the same, and where each comes from
}

// choices are the values that a setting may have, of those that may not have any.
var choices = map[string][]string{
	"hypervisor": {"auto", "xen", "hosted"},
	"log-level":  {"debug", "info", "warn", "error"},
	"color":      {"auto", "always", "never"},
}

// globalFlags declares the flags before a command.
func globalFlags() *pflag.FlagSet {
	flags := pflag.NewFlagSet("kxsh", pflag.ContinueOnError)
	flags.SetInterspersed(false)
	flags.StringP("command", "c", "", "run this script")
	flags.String("hypervisor", "auto", "auto, xen or hosted")
	flags.String("socket", engine.DefaultSocket(), "the engine's socket")
	flags.String("state", engine.DefaultState(), "folder of the engine's store and the consoles")
	flags.String("trust", filepath.Join(configDir(), "trust"), "folder of the public keys that signatures are checked with")
	flags.Int("family-limit", engine.DefaultFamilyLimit, "how many pVMs a family may have that limit --family has not spoken of")
	flags.String("metrics", "", "where the engine serves metrics without a password: HOST:PORT of the loopback, or unix:PATH")
	flags.String("log-level", "warn", "of the engine: debug, info, warn or error")
	flags.String("color", "auto", "auto, always or never; NO_COLOR is obeyed")
	flags.String("config", os.Getenv("KXSH_CONFIG"), "configuration file (YAML or TOML)")
	flags.Bool("no-start", false, "fail rather than start an engine")
	flags.Bool("version", false, "print the version")
	return flags
}

// settingKeys are the keys of settings, sorted: flags, and one more.
func settingKeys(flags *pflag.FlagSet) (keys []string) {
	flags.VisitAll(func(f *pflag.Flag) {
		if f.Name != "command" && f.Name != "config" && f.Name != "version" {
			keys = append(keys, f.Name)
		}
	})
	keys = append(keys, themeKey)
	slices.Sort(keys)
	return keys
}

// themeKey is a setting whose flag is top's.
const themeKey = "theme"

// variable is the environment variable of a setting.
func variable(key string) string { return "KXSH_" + strings.ToUpper(strings.ReplaceAll(key, "-", "_")) }

// configure reads the configuration file and the environment.
func configure(flags *pflag.FlagSet) (*settings, error) {
	c := config{Viper: viper.New(), flags: flags}
	c.SetEnvPrefix("kxsh")
	c.SetEnvKeyReplacer(strings.NewReplacer("-", "_"))
	c.AutomaticEnv()
	c.SetDefault(themeKey, "")
	if err := c.BindPFlags(flags); err != nil {
		return nil, err
	}
	if err := c.read(); err != nil {
		return nil, err
	}
	s := &settings{
		hypervisor: c.choice("hypervisor"), color: c.choice("color"), noStart: c.bool("no-start"), familyLimit: c.count("family-limit", "pVMs"),
		socket: c.path("socket"), state: c.path("state"), trust: c.path("trust"), metrics: c.metrics("metrics"), theme: c.theme(themeKey),
	}
	if level := c.choice("log-level"); c.err == nil {
		c.err = s.level.UnmarshalText([]byte(level))
	}
	if c.err != nil {
		return nil, c.err
	}
	slices.SortFunc(c.list, func(a, b shell.Setting) int { return strings.Compare(a.Key, b.Key) })
	s.list = append([]shell.Setting{c.fileSetting()}, c.list...)
	return s, nil
}

// config reads settings, notes where they come from, and keeps the first error.
type config struct {
	*viper.Viper
	flags *pflag.FlagSet
	file  string // the configuration file; "": none
	list  []shell.Setting
	err   error
}

// read reads the file named, or the one that is in the usual places. Most often there is none, and then
// viper is not asked: its search takes as long as everything else that a short command does.
func (c *config) read() error {
	file := viper.New()
	if name, _ := c.flags.GetString("config"); name != "" {
		file.SetConfigFile(name)
	} else {
		dirs := []string{configDir()}
		if os.Geteuid() == 0 {
			dirs = append(dirs, "/etc/kxsh")
		}
		any := false
		file.SetConfigName("config")
		for _, dir := range dirs {
			file.AddConfigPath(dir)
			found, _ := filepath.Glob(filepath.Join(dir, "config.*")) // the only error is a bad pattern
			any = any || len(found) > 0
		}
		if !any {
			return nil
		}
	}
	err := file.ReadInConfig()
	var notFound viper.ConfigFileNotFoundError
	switch {
	case errors.As(err, &notFound):
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("--config %s: no such file", file.ConfigFileUsed())
	case err != nil:
		return fmt.Errorf("--config %s: %w", file.ConfigFileUsed(), err)
	}
	if c.file, err = filepath.Abs(file.ConfigFileUsed()); err != nil {
		return err
	}
	known, keys := settingKeys(c.flags), file.AllKeys()
	slices.Sort(keys)
	for _, key := range keys {
		if slices.Contains(known, key) {
			continue
		}
		mend := shell.DidYouMean(key, known)
		if mend == "" {
			mend = ": there is " + strings.Join(known, ", ")
		}
		return fmt.Errorf("%s: %s: no such setting%s", c.file, key, mend)
	}
	return c.MergeConfigMap(file.AllSettings())
}

// origin tells where the value of a key comes from, in viper's order.
func (c *config) origin(key string) (origin, from string) {
	switch {
	case c.flags.Changed(key):
		return "flag", "--" + key
	case os.Getenv(variable(key)) != "": // as viper has it, an empty one counts for none
		return "environment", variable(key)
	case c.InConfig(key):
		return "file", c.file
	}
	return "default", ""
}

// fileSetting is the setting that has no place in the file: which file it is.
func (c *config) fileSetting() shell.Setting {
	origin, from := c.origin("config")
	return shell.Setting{Key: "config", Value: c.file, Origin: origin, From: from}
}

// note lists a setting's value.
func (c *config) note(key string, value any) {
	origin, from := c.origin(key)
	c.list = append(c.list, shell.Setting{Key: key, Value: value, Origin: origin, From: from})
}

// refuse says what is wrong with the value of a key, and where that is.
func (c *config) refuse(key, value, want string) {
	if c.err != nil {
		return
	}
	where := "--" + key + " "
	switch origin, from := c.origin(key); origin {
	case "environment":
		where = from + "="
	case "file":
		where = from + ": " + key + ": "
	}
	c.err = fmt.Errorf("%s%s: %s", where, value, want)
}

// text is a value that is one word or number; a file may have lists and the like.
func (c *config) text(key string) string {
	switch v := c.Get(key).(type) {
	case string, int, bool:
		return fmt.Sprint(v)
	default:
		c.refuse(key, fmt.Sprint(v), "it takes one value")
		return ""
	}
}

func (c *config) choice(key string) string {
	v := strings.ToLower(c.text(key))
	if all := choices[key]; !slices.Contains(all, v) {
		last := len(all) - 1
		c.refuse(key, v, strings.Join(all[:last], ", ")+" or "+all[last])
	}
	c.note(key, v)
	return v
}

func (c *config) bool(key string) bool {
	text := c.text(key)
	v, err := strconv.ParseBool(text)
	if err != nil {
		c.refuse(key, text, "true or false")
	}
	c.note(key, v)
	return v
}

// count is at least 1.
func (c *config) count(key, of string) int {
	text := c.text(key)
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 {
		c.refuse(key, text, "a number of "+of+", at least 1")
	}
	c.note(key, n)
	return n
}

// path is absolute.
func (c *config) path(key string) string {
	text := c.text(key)
	abs, err := filepath.Abs(text)
	if err == nil && text == "" {
		err = errors.New("a path is missing")
	}
	if err != nil {
		c.refuse(key, text, err.Error())
	}
	c.note(key, abs)
	return abs
}

func (c *config) theme(key string) string {
	text := c.text(key)
	if err := tui.CheckTheme(text); err != nil {
		c.refuse(key, text, strings.TrimPrefix(err.Error(), text+": "))
	}
	c.note(key, text)
	return text
}

// metrics is an address that metrics can be served at, or "".
func (c *config) metrics(key string) string {
	text := c.text(key)
	if path, ok := strings.CutPrefix(text, "unix:"); ok && path != "" && !filepath.IsAbs(path) {
		if abs, err := filepath.Abs(path); err == nil {
			text = "unix:" + abs
		}
	}
	if text != "" {
		if err := engine.CheckMetrics(text); err != nil {
			c.refuse(key, text, err.Error())
		}
	}
	c.note(key, text)
	return text
}

// configDir is where this user's configuration file and start file are.
func configDir() string {
	dir, err := os.UserConfigDir()
	if err != nil {
		return "/etc/kxsh"
	}
	return filepath.Join(dir, "kxsh")
}
