# __kxsh_rest prints the words from the command on, up to the cursor; with -c there is none.
function __kxsh_rest
    set -l words (commandline -opc)[2..]
    while set -q words[1]
        switch $words[1]
            case -c '-c*' --command '--command=*'
                return
            case --
                set -e words[1]
                break
            case '-*'
                contains -- $words[1] @TAKERS@; and set -e words[1]
                set -e words[1]
            case '*'
                break
        end
    end
    set -q words[1]; and printf '%s\n' $words
end

# __kxsh_first: does the word at the cursor stand where a command may?
function __kxsh_first
    not __kxsh_rest >/dev/null; and not __kxsh_scripted
end

# __kxsh_scripted: is the script that -c gives on the line already?
function __kxsh_scripted
    string match -qr -- '^(-c|--command)' (commandline -opc)[2..]
end

# __kxsh_in COMMAND: is the word at the cursor an argument of this command?
function __kxsh_in
    set -l rest (__kxsh_rest)
    test "$rest[1]" = $argv[1]
end

# __kxsh_file: is it an argument of a script?
function __kxsh_file
    __kxsh_scripted; and return
    set -l rest (__kxsh_rest)
    set -q rest[1]; or return 0
    not contains -- $rest[1] @COMMANDS@
end

# __kxsh_first_of COMMAND FLAG...: is it the first argument of this command? FLAGs take a value.
function __kxsh_first_of
    set -l rest (__kxsh_rest)
    test "$rest[1]" = $argv[1]; or return
    set -e rest[1]
    while set -q rest[1]
        string match -q -- '-?*' $rest[1]; or return 1
        contains -- $rest[1] $argv[2..]; and set -e rest[1]
        set -e rest[1]
    end
end

function __kxsh_dash
    string match -q -- '-*' (commandline -ct)
end

# __kxsh_live prints the pVMs: PID, family and name, of the engine that the global flags name.
function __kxsh_live
    set -l words (commandline -opc)
    set -l globals
    for i in (seq 2 (count $words))
        switch $words[$i]
            case --socket --state --config
                set -a globals $words[$i] $words[(math $i + 1)]
            case '--socket=*' '--state=*' '--config=*'
                set -a globals $words[$i]
        end
    end
    timeout 2 $words[1] $globals @LIVE@ 2>/dev/null </dev/null
end

function __kxsh_pvms
    __kxsh_live | while read -l pid family name
        if string match -q '%*' -- (commandline -ct)
            test $pid = $family; and printf '%%%s\tthe family of %s\n' $family $name
            continue
        end
        printf '%s\t%s\n' $pid $name
        string match -qr '^[@CHARS@]+$' -- $name; and printf '%s\t%s\n' $name $pid
    end
end

function __kxsh_names
    __kxsh_live | while read -l pid family name
        string match -qr '^[@CHARS@]+$' -- $name; and printf '%s\t%s\n' $name $pid
    end
end

# __kxsh_images prints folders and what ends in .kx.
function __kxsh_images
    complete -C "'' "(commandline -ct) | string match -r '^.*(?:/|\.kx)(?:\t.*)?$'
end

# __kxsh_list COLUMN... prints columns behind those that are typed already.
function __kxsh_list
    set -l done (string match -r '^(?:--[^=]*=)?(.*[,-])?' -- (commandline -ct))[2]
    printf '%s\n' "$done"$argv
end
