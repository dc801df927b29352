package config

import (
	"errors"
	"flag"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"selvage"
)

// Flags are the settings that were given as flags. Make it with AddFlags.
type Flags struct {
	values map[string]string // by key
	file   string
}

// AddFlags adds --config and one flag for each setting, or for those with the given
// keys, to the set, which the caller then parses. A flag for a list may be repeated.
func AddFlags(set *flag.FlagSet, keys ...string) *Flags {
	f := &Flags{values: map[string]string{}}
	set.StringVar(&f.file, "config", "", "configuration `file`")
	docs := docs()
	for _, field := range fields(new(Config)) {
		if len(keys) > 0 && !slices.Contains(keys, field.key) {
			continue
		}
		set.Var(&flagValue{f, field}, Flag(field.key), docs[field.owner+"."+field.name])
	}
	return f
}

// flagValue is the flag.Value of a setting.
type flagValue struct {
	flags *Flags
	field field
}

// String returns what was given, for flag's own use.
func (v *flagValue) String() string {
	if v.flags == nil {
		return ""
	}
	return v.flags.values[v.field.key]
}

// Set takes the value of one occurrence of the flag.
func (v *flagValue) Set(text string) error {
	if err := v.field.set(text); err != nil {
		return err
	}
	if old := v.flags.values[v.field.key]; old != "" && v.field.value.Kind().String() == "slice" {
		text = old + "," + text
	}
	v.flags.values[v.field.key] = text
	return nil
}

// IsBoolFlag lets --relay-enabled stand for --relay-enabled=true.
func (v *flagValue) IsBoolFlag() bool {
	return v.field.value.IsValid() && v.field.value.Kind().String() == "bool"
}

// Source is where settings come from. The zero value is the defaults for a process
// without an environment.
type Source struct {
	Flags *Flags // may be nil
	// Environ is the environment as os.Environ returns it.
	Environ []string
	// UID is the user that the process runs as; it decides about the default folder.
	UID int
}

// Loaded is a configuration and where it comes from.
type Loaded struct {
	Config
	// File is the file that was read, empty if there was none.
	File string
	// Origins has, for each setting that is not the default, where it was set: the
	// file, a variable or a flag.
	Origins map[string]string
	// Warnings are for the log: variables that look like misspelt settings.
	Warnings []string
}

// Load reads the configuration. A file that was asked for must be there; those at the
// usual places may be missing. Afterwards MasterKey holds the key, if one is set,
// also if it was in a file.
func Load(s Source) (*Loaded, error) {
	env := variables(s.Environ)
	l := &Loaded{Config: Default(""), Origins: map[string]string{}}
	dataDir := DataDir(s)
	if err := l.loadFile(s, env, dataDir); err != nil {
		return nil, err
	}
	for _, f := range fields(&l.Config) {
		variable := Variable(f.key)
		if text, ok := env[variable]; ok && text != "" {
			if err := f.set(text); err != nil {
				return nil, selvage.Errorf(selvage.KindInvalid, "environment variable %s: %w", variable, err)
			}
			l.Origins[f.key] = variable
		}
		if s.Flags == nil {
			continue
		}
		if text, ok := s.Flags.values[f.key]; ok {
			if err := f.set(text); err != nil {
				return nil, selvage.Errorf(selvage.KindInvalid, "flag --%s: %w", Flag(f.key), err)
			}
			l.Origins[f.key] = "--" + Flag(f.key)
		}
	}
	if l.DataDir == "" {
		l.DataDir = dataDir
	}
	l.Warnings = misspelt(env)
	l.resolve()
	if err := l.check(); err != nil {
		return nil, l.placed(err)
	}
	return l, l.readMasterKey()
}

// loadFile reads the file, if there is one.
func (l *Loaded) loadFile(s Source, env map[string]string, dataDir string) error {
	asked := env["SELVAGE_CONFIG"]
	if s.Flags != nil && s.Flags.file != "" {
		asked = s.Flags.file
	}
	places := []string{filepath.Join(dataDir, FileName), SystemFile}
	if asked != "" {
		places = []string{asked}
	}
	for _, name := range places {
		text, err := readFile(name)
		if (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENOTDIR)) && asked == "" {
			continue
		}
		if err != nil {
			return selvage.Errorf(selvage.KindInvalid, "configuration cannot be read: %w", err)
		}
		l.File = name
		return l.parse(text, name, func(key string) { l.Origins[key] = name })
	}
	return nil
}

// placed adds to an error of check where the setting was made, if it begins with one.
func (l *Loaded) placed(err error) error {
	key, _, _ := strings.Cut(err.Error(), " ")
	if origin := l.Origins[key]; origin != "" {
		return selvage.Errorf(selvage.KindInvalid, "%s: %w", origin, err)
	}
	return err
}

func (l *Loaded) readMasterKey() error {
	if l.MasterKeyFile == "" {
		return nil
	}
	text, err := readFile(l.MasterKeyFile)
	if err != nil {
		return selvage.Errorf(selvage.KindInvalid, "master_key_file cannot be read: %w", err)
	}
	l.MasterKey = strings.TrimSpace(string(text))
	if l.MasterKey == "" {
		return selvage.Errorf(selvage.KindInvalid, "master_key_file %s is empty: want 32 bytes in base 64", l.MasterKeyFile)
	}
	return nil
}

// systemDir is the data folder of a service.
const systemDir = "/var/lib/selvage"

// DataDir returns the data folder that the flags or environment name, or the default
// one. A file can name another still; see Load.
func DataDir(s Source) string {
	env := variables(s.Environ)
	if s.Flags != nil && s.Flags.values["data_dir"] != "" {
		return s.Flags.values["data_dir"]
	}
	if dir := env["SELVAGE_DATA_DIR"]; dir != "" {
		return dir
	}
	// systemd sets it for units with StateDirectory=; the first of several counts.
	if dir, _, _ := strings.Cut(env["STATE_DIRECTORY"], ":"); dir != "" {
		return dir
	}
	if s.UID == 0 && env["INVOCATION_ID"] != "" || readable(systemDir) {
		return systemDir
	}
	if dir := env["XDG_STATE_HOME"]; filepath.IsAbs(dir) {
		return filepath.Join(dir, "selvage")
	}
	if home := env["HOME"]; home != "" {
		return filepath.Join(home, ".local", "state", "selvage")
	}
	return systemDir
}

// readable reports whether a folder is there and this process may look into it.
func readable(dir string) bool {
	f, err := os.Open(dir)
	if err != nil {
		return false
	}
	defer f.Close()
	info, err := f.Stat()
	return err == nil && info.IsDir()
}

func variables(environ []string) map[string]string {
	env := map[string]string{}
	for _, line := range environ {
		if name, value, ok := strings.Cut(line, "="); ok {
			env[name] = value
		}
	}
	return env
}

// misspelt finds variables that are near a setting's. They are no errors: orchestrators
// set variables of their own beginning with SELVAGE_ for services of that name.
func misspelt(env map[string]string) []string {
	const prefix = "SELVAGE_"
	others := []string{"CONFIG", "TOKEN", "TAILNET"}
	var known []string
	for _, key := range Keys() {
		known = append(known, strings.TrimPrefix(Variable(key), prefix))
	}
	var warnings []string
	for _, name := range slices.Sorted(maps.Keys(env)) {
		rest, ok := strings.CutPrefix(name, prefix)
		if !ok || slices.Contains(known, rest) || slices.Contains(others, rest) {
			continue
		}
		if near := Nearest(rest, known); near != "" {
			warnings = append(warnings, fmt.Sprintf("environment variable %s is no setting; did you mean %s?", name, prefix+near))
		}
	}
	return warnings
}
