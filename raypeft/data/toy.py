"""
The embedded toy dataset: English intents with names in backticks, answered by one line of Python, similar to CoNaLa.
Nothing is downloaded: the rows are generated, and are the same on every machine. An example from the train split:

nl: get columns 'date' and 'age' in dataframe `sales`
code: sales = sales[['date', 'age']]

`OPERATIONS` has one operation on each line: the mark of its split, its code, and a small grammar of phrasings.
As in the split of CoNaLa, a test row of a held-out operation needs a function that no train row calls. The other test
rows are operations of the train split in phrasings that are not in the train split. Each phrasing belongs to one of
three groups: `pretraining` (used only by scripts/toy_corpus.py), `study` (train) and `held_out` (validation and test).

This dataset is built so that tuning methods differ on a tiny model. It says nothing about real models.
"""

import ast
import re
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from itertools import product
from random import Random
from typing import TypeVar

from raypeft.records import Dataset, Example

SPLIT_SEED = 20
TRAIN_ROWS, VALIDATION_ROWS, TEST_ROWS = 1_280, 120, 250
HELD_OUT_SHARE = 0.6  # of validation and test: rows whose function train never shows

# Mark (. train, V validation, T test), code :: grammar. `$name` is a slot, `[a|b]` a choice; the letter before the
# digit says what fills the slot (see NAMES and LITERALS), so that `$l` and `$l2` are two different lists.
OPERATIONS = """
. sorted($l, reverse=True) :: [sort|order|arrange] list $l [in descending order|from largest to smallest|in reverse]
. $l.sort(key=lambda x: x[$n]) :: sort [a list of tuples|list of tuples] $l [by|on|using] [item|element|position] $n
. $l[::-1] :: [reverse|flip|invert] [the order of|the elements of|all items in] list $l
. $l[-$n:] :: get [the last|the final|the trailing] $n [elements|items|values] [of|from] list $l
. $l[:$n] :: get [the first|the initial|the leading] $n [elements|items|values] [of|from] list $l
. $l[::$n] :: [get|take|select] every $n -th [element|item|value] [of|from|in] list $l
. sum($l) / len($l) :: [calculate|compute|find] the [average|mean] of [the numbers in|all values in] list $l
. max($l, key=len) :: [find|get] the longest [string|word|item] in [list|a list of strings] $l
. [x for x in $l if x > $n] :: [keep|filter] the [elements|items] [of|in] list $l [greater|bigger|larger] than $n
. [x * $n for x in $l] :: multiply [each|every] [element|number|value] [of|in] list $l by $n
. [x for x in $l if x not in $l2] :: get the [elements|items] of list $l that are [not in|missing from] list $l2
. list(set($l)) :: [remove|delete|drop] [duplicates|repeated elements|duplicate values] from list $l
. list(set($l) & set($l2)) :: [find|get] the [common elements|shared items|intersection] of lists $l and $l2
. list(zip($l, $l2)) :: [pair|combine|zip] [lists|the two lists] $l and $l2 [into|as] a list of tuples
T list(map(int, $l)) :: convert [all strings|every string|the strings] in list $l to [integers|ints|int]
. $l.append($w) :: [append|add] [string|the value] $w to [the end of list|list] $l
. $l.insert($n, $w) :: insert [string|the value|element] $w [at|into] [position|index] $n of list $l
T $l.extend($l2) :: extend list $l with [all elements|all items|the elements|every item] [of|from] list $l2
. $l.remove($w) :: [remove|delete] the first [occurrence|instance] of [element|value|item] $w from list $l
. $l.index($w) :: [find|get] the [index|position] of [element|value|item] $w in list $l
T $l.count($w) :: count [how often|how many times|the times that] [element|value|item] $w [occurs|appears] in list $l
T list(enumerate($l, start=$n)) :: enumerate the [elements|items|values] of list $l [starting|beginning] [from|at] $n
. all(x > $n for x in $l) :: check [if|whether] [all|every] [elements|numbers|values] of list $l exceed $n
V any(x > $n for x in $l) :: check [if|whether] any [element|number|value] of list $l [exceeds|is over] $n
. [y for x in $l for y in x] :: flatten [list of lists|a nested list|the nested list|a list of lists] $l [into one|fully]
. [$l[i:i + $n] for i in range(0, len($l), $n)] :: [split|divide] list $l into [chunks|pieces|parts] of [size|length] $n
T list(itertools.combinations($l, $n)) :: get all [combinations|possible combinations] of [size|length] $n [from|of] list $l
V list(itertools.permutations($l, $n)) :: get all [permutations|possible permutations] of [size|length] $n [from|of] list $l
T random.sample($l, $n) :: [draw|pick|sample] $n [distinct|different|unique] random [elements|items] from list $l
. random.choice($l) :: [choose|select|pick] [a random|one random] [element|item|value] [from|of] list $l
. random.shuffle($l) :: [shuffle|randomly shuffle|mix] the [elements|items|values] of list $l [in place|]
. random.randint($n, $m) :: generate [a random integer|a random int|one random number] [between|from] $n [and|to] $m
V random.uniform($n, $m) :: generate [a random float|a uniform random number|one random float] [between|from] $n [and|to] $m
T collections.Counter($l).most_common($n) :: [find|get] the $n most [common|frequent] [elements|items|values] in list $l
T heapq.nlargest($n, $l) :: [find|get] the $n [largest|biggest|highest] [elements|numbers|values] in list $l
V heapq.nsmallest($n, $l) :: [find|get] the $n [smallest|lowest|least] [elements|numbers|values] in list $l
. bisect.insort($l, $n) :: insert [number|the number|value] $n into [sorted list|the sorted list] $l keeping [order|it sorted]
. $sep.join($l) :: [join|concatenate|combine] [the strings in|all strings of|the items of] list $l with separator $sep
T copy.deepcopy($l) :: [make|create] a deep copy of [list|nested list|the list|the nested list] $l [now|]
. functools.reduce(lambda x, y: x * y, $l) :: [compute|calculate|get] the product of [all numbers|the values|all items] in list $l
. $d[$k] :: get [the value of|the value for|the item at] key $k [in|from|of] dictionary $d
. $d.get($k, $n) :: get key $k [from|of|in] dictionary $d [with default|or the default|falling back to] $n
T $d.setdefault($k, []) :: set key $k of dictionary $d to [an empty list|a new list] [if missing|unless present|when it is absent]
. del $d[$k] :: [delete|remove|drop] key $k [from|in|of] dictionary $d
V $d.pop($k, None) :: pop key $k [from|off|out of] dictionary $d [without an error|ignoring a missing key|or give none]
. list($d.keys()) :: get [a list of all keys|all the keys|the list of keys] [in|of|from] dictionary $d
. list($d.values()) :: get [a list of all values|all the values|the list of values] [in|of|from] dictionary $d
. sorted($d.items(), key=lambda x: x[1]) :: sort [dictionary|the dictionary|the items of dictionary] $d by [value|its values|values]
. {k: v for k, v in $d.items() if v > $n} :: [keep|filter] the [items|entries] of dictionary $d with [value|values] [over|above] $n
. {v: k for k, v in $d.items()} :: [swap|invert|exchange] the keys and values [of|in] [dictionary|the dictionary] $d
. dict(zip($l, $l2)) :: [create|make|build] a dictionary [from|out of] keys $l and values $l2
. $d.update($d2) :: update dictionary $d with [the entries of|the items of|all keys of|everything in] dictionary $d2
T dict.fromkeys($l, $n) :: [create|make|build] a dictionary with keys [from|of] list $l [all set to|and every value] $n
. {**$d, **$d2} :: [merge|combine] [dictionaries|the dictionaries|two dictionaries] $d and $d2 [into a new one|]
. json.load(open($f)) :: [read|load|parse] [json|the json data|a json object] from file $f
T json.dumps($d, indent=$n) :: [dump|serialize|format] dictionary $d as json [with indent|indented by|using indent] $n
. $s.split($sep) :: split string $s [by|on|at] [separator|delimiter|the character] $sep
. $s.replace($w, $w2) :: replace [all occurrences of|every|all] $w [with|by] $w2 in string $s
. $s.strip() :: [strip|remove|trim] [whitespace|leading and trailing whitespace|outer spaces] [from|of] string $s
. $s.upper() :: convert string $s to [uppercase|upper case|capital letters|all caps] [letters|]
. $s.lower() :: convert string $s to [lowercase|lower case|small letters|all lowercase] [letters|]
T $s.title() :: convert string $s to [title case|titlecase|title form|a title] [letters|]
V $s.capitalize() :: capitalize [the first letter of|the first character of|the start of|only the start of] string $s
T $s.zfill($n) :: pad [string|numeric string|the string] $s with [zeros|leading zeros] to [width|length] $n
. $s.startswith($w) :: check [if|whether] string $s [starts|begins] with [prefix|the prefix|] $w
T $s.endswith($w) :: check [if|whether] string $s [ends|finishes] with [suffix|the suffix|] $w
. $s.center($n) :: center string $s [in|within] [a field of|a width of|a line of] [width|size|length] $n
T $s.rjust($n, $sep) :: right [justify|align] string $s to [width|length] $n [with|using|padded with] $sep
V $s.ljust($n, $sep) :: left [justify|align] string $s to [width|length] $n [with|using|padded with] $sep
. $s.find($w) :: find the [position|index|first position] of [substring|the substring|text] $w in string $s
T $s.partition($sep) :: partition string $s [at|around|on] the first [separator|occurrence of|delimiter] $sep
. $s.rsplit($sep, $n) :: split string $s [from the right|from the end|from the back] at most $n times [on|by|at] $sep
T $s.splitlines() :: split string $s into [lines|a list of lines|its lines|separate lines] [now|]
. $s.isdigit() :: check [if|whether] string $s [contains|has|holds] only [digits|numeric characters]
V $s.isalpha() :: check [if|whether] string $s [contains|has|holds] only [letters|alphabetic characters]
. $s.encode($enc) :: encode [string|the string|unicode string] $s [as|to|using|in] $enc
T hashlib.md5($s.encode()).hexdigest() :: [compute|calculate|get] the md5 [hash|checksum|digest] of string $s
. int($s, $b) :: convert [string|the string] $s to [an integer|an int] [in base|with base|of base] $b
. float($s) :: convert [string|the string|text string] $s to [a float|float|a floating point number]
T hex($x) :: convert [integer|the integer|int] $x to [hexadecimal|hex|a hex string]
. bin($x) :: convert [integer|the integer|int] $x to [binary|a binary string|base two]
. round($x, $n) :: round [number|float|the number] $x to $n [decimal places|decimals|digits]
T divmod($x, $n) :: get [quotient and remainder|the quotient and remainder|both quotient and rest] of $x [divided|split] by $n
. len($s) :: [get|find|compute] the [length of|number of characters in|size of] string $s
. ''.join(sorted($s)) :: sort the [characters|letters|chars] [of|in] string $s [alphabetically|in order]
. ''.join(x for x in $s if x.isalnum()) :: [remove|strip|drop] [all punctuation|all special characters|every symbol] from string $s
T textwrap.wrap($s, $n) :: wrap string $s [into|to] lines of [at most|up to|maximum] $n [characters|chars]
. re.findall($rx, $s) :: find all [matches|occurrences|substrings] [of|for|matching] regex $rx in string $s
. re.sub($rx, $w, $s) :: replace [matches of|everything matching|text matching] regex $rx [with|by] $w in string $s
T re.fullmatch($rx, $s) :: check [if|whether] [the whole string|the entire string|all of string] $s matches regex $rx
. re.search($rx, $s).group($n) :: get group $n of [the first match|a search|the match] [for|of] regex $rx in string $s
V re.compile($rx, re.IGNORECASE) :: compile [regex|the regex|pattern] $rx [ignoring case|case insensitively|with case ignored]
. re.split($rx, $s) :: split string $s [by|on|at|using] [regex|the regex|pattern] $rx
. open($f).read() :: [read|load] [the contents of|the whole|the text of|all of] file $f [into a string|]
. open($f).readlines() :: read [all lines|the lines|every line] [of|from|in] file $f [into a list|]
. open($f, 'w').write($s) :: write [string|the string|text] $s [to|into] file $f
T os.path.getsize($f) :: get the [size|size in bytes|byte size] [of|for] [file|the file] $f
. os.path.exists($f) :: check [if|whether] [file|a file|the file] $f [exists|is present]
. os.path.join($p, $f) :: join [directory|the directory|folder] $p [and|with] [file name|filename] $f
. os.path.basename($p) :: get the [file name|base name|last part] [of|from] path $p [only|]
V os.path.dirname($p) :: get the [directory|directory name|parent folder] [of|from] path $p [only|]
T os.path.splitext($f)[0] :: get the [name|file name|base] of file $f without [extension|the extension|its extension]
. os.listdir($p) :: list [all files|the files|every file|files] in [directory|folder|the directory] $p
. os.makedirs($p, exist_ok=True) :: create [directory|folder|the directory] $p [if it does not exist|unless it exists|if missing]
T shutil.copy($f, $f2) :: copy [file|the file|a file] $f [to|into|over to] [file|] $f2
. os.rename($f, $f2) :: rename [file|the file|a file] $f [to|as|into] [file|] $f2
. os.remove($f) :: [delete|remove|erase] [file|the file|a file] $f [from disk|]
T glob.glob(os.path.join($p, '*')) :: glob [all paths|every path|all files] [in|inside|under] [directory|folder] $p
. pickle.load(open($f, 'rb')) :: [load|read|restore] [a pickled object|the pickled object|pickle data] from file $f
. os.environ[$k] :: get [environment variable|the environment variable|env variable] $k [value|]
. subprocess.check_output([$w, $w2]) :: get the output of [command|running command|shell command] $w with argument $w2
. sys.exit($n) :: [exit|quit|stop] [the program|the script|python] with [status|code] $n
. datetime.strptime($s, $fmt) :: parse [date string|the date string|date] $s [with|using] format $fmt
. $dt.strftime($fmt) :: format [date|datetime|the date] $dt [as|using|with] $fmt
. $dt + timedelta(days=$n) :: add $n days to [date|datetime|the date|a date] $dt [now|]
. ($dt2 - $dt).days :: get the [number of days|days|day count] [between|from] dates $dt [and|to] $dt2
T datetime.fromtimestamp($x) :: convert [timestamp|unix timestamp|epoch time] $x to [a datetime|datetime|a date]
V $dt.isoformat() :: convert [date|datetime|the date] $dt to [iso format|an iso string|iso 8601]
. $dt.weekday() :: get the [day of the week|weekday|week day number] [of|for] [date|datetime] $dt
. time.sleep($n) :: [sleep|wait|pause] [for|exactly] $n [seconds|secs]
. np.array($l) :: convert [list|the list|python list] $l to [a numpy array|numpy array|an array]
. np.zeros(($n, $m)) :: create [a numpy array|an array|a numpy matrix] of zeros [with shape|of shape|sized] $n by $m
T np.linspace($n, $m, $n2) :: create $n2 [evenly spaced|equally spaced] [numbers|values] [between|from] $n [and|to] $m
. $a.reshape($n, $m) :: reshape [array|numpy array|the array] $a [to|into] $n rows and $m columns
. $a[:, $n] :: get column $n [of|from] [numpy array|array|the array|matrix] $a
. np.mean($a, axis=$ax) :: [compute|calculate|get] the mean of array $a [along|over|across] axis $ax
T np.std($a, axis=$ax) :: [compute|calculate|get] the standard deviation of array $a [along|over|across] axis $ax
. np.concatenate(($a, $a2), axis=$ax) :: concatenate arrays $a and $a2 [along|over|across] [axis|the axis] $ax
T np.vstack(($a, $a2)) :: stack [arrays|numpy arrays|the arrays] $a and $a2 [vertically|row wise|as rows]
V np.hstack(($a, $a2)) :: stack [arrays|numpy arrays|the arrays] $a and $a2 [horizontally|column wise|side by side]
. np.dot($a, $a2) :: [multiply|compute the dot product of|take the product of] [arrays|matrices|numpy arrays] $a and $a2
. np.where($a > $n) :: [find|get] the indices of [elements|values|entries] in array $a [greater|larger|bigger] than $n
T np.unique($a, return_counts=True) :: [find|get] unique [values|elements] [of|in] array $a [and|with] their counts
V np.clip($a, $n, $m) :: clip [array|the values of array|numpy array] $a [between|to the range] $n [and|to] $m
. np.linalg.inv($a) :: [compute|calculate|find|get] the inverse of [matrix|array|the matrix] $a
T np.cumsum($a, axis=$ax) :: [compute|calculate|get] the cumulative sum of array $a [along|over|across] axis $ax
. np.savetxt($f, $a, delimiter=$sep) :: save [array|numpy array|the array] $a to file $f with [delimiter|separator] $sep
. pd.read_csv($f, sep=$sep) :: read csv file $f [into|as] [a dataframe|dataframe] with [separator|delimiter] $sep
. $df.to_csv($f, index=False) :: [write|save|export] dataframe $df to csv file $f without [index|the index]
. $df[[$c, $c2]] :: [select|get|keep] columns $c and $c2 [of|from|in] dataframe $df
. $df[$df[$c] > $n] :: [select|get|filter] rows of dataframe $df where column $c [is greater than|exceeds|is above] $n
. $df.sort_values($c, ascending=False) :: sort dataframe $df by column $c [descending|in descending order|from high to low]
. $df.groupby($c)[$c2].mean() :: group dataframe $df by $c and [average|take the mean of|get the mean of] [column|] $c2
T $df.drop_duplicates(subset=$c) :: [drop|remove|delete] duplicate rows of dataframe $df [based on|by|using] column $c
. $df.drop($c, axis=1) :: [drop|remove|delete] column $c [from|of|in] dataframe $df
. $df.rename(columns={$c: $c2}) :: rename column $c [to|as|into] $c2 [in|of] dataframe $df
T $df[$c].value_counts() :: count [each value|the values|every value|distinct values] [of|in] column $c of dataframe $df
V $df[$c].nunique() :: get the number of [unique|distinct|different] values [of|in] column $c of dataframe $df
. $df[$c].fillna($n) :: fill [missing|nan|null] values [of|in] column $c of dataframe $df with $n
T $df.dropna(subset=[$c]) :: drop rows [of|in|from] dataframe $df where column $c is [missing|nan|null]
. $df[$c].astype($ty) :: convert column $c of dataframe $df to [type|dtype|data type] $ty [now|]
T pd.merge($df, $df2, on=$c) :: merge dataframes $df and $df2 [on|by|using] [column|the column|key column] $c
. pd.concat([$df, $df2], ignore_index=True) :: concatenate dataframes $df and $df2 [ignoring|resetting] [the index|index|indices]
. $df.iloc[$n] :: get row [number|at position|with position] $n [of|from|in] dataframe $df
. $df.head($n) :: [show|get|display] the first $n rows [of|from|in] dataframe $df
. $df.set_index($c) :: [set|use|make] column $c as [index|the index|row index] of dataframe $df
T $df.reset_index(drop=True) :: reset the index of dataframe $df [and drop|dropping|without] [the old index|the old one|the old]
. $df[$c].apply(lambda x: x * $n) :: multiply [column|each value of column|values in column] $c [of|in] dataframe $df by $n
T $df[$c].str.contains($w) :: check [if|whether] [values|strings] [of|in] column $c of dataframe $df contain $w
. isinstance($x, $ty) :: check [if|whether] [variable|object|the value] $x is [of type|an instance of] $ty
T getattr($o, $k) :: get attribute [named|with name|called] $k [of|from] [object|the object] $o
. setattr($o, $k, $n) :: set attribute $k [of|on] [object|the object|instance] $o to [value|] $n
V hasattr($o, $k) :: check [if|whether] [object|the object|instance] $o has attribute $k [set|]
. requests.get($url).json() :: [fetch|get|download] json [data|content] from [url|address|the url] $url
T urllib.parse.quote($s) :: [url encode|percent encode|quote] [string|the string|text] $s [for a url|for use in a url]
. math.sqrt($x) :: [compute|calculate|find|get] the square root of [number|the number|variable] $x
T math.ceil($x) :: round [number|float|the number] $x up to [an integer|the next integer|the next whole number]
. $st.add($w) :: add [element|item|value|string] $w [to|into] set $st [now|]
T $st.issubset($st2) :: check [if|whether] set $st is [a subset of|contained in|fully inside] set $st2
. $st | $st2 :: get the [union|combined set] of [sets|the sets|the two sets] $st and $st2 [now|]
"""  # noqa: E501

# What fills a slot, by its letter. The pretraining corpus draws from other values.
NAMES = {
    "l": "items names my_list lst data numbers words mylist values rows scores user_ids lines prices fruits tokens",
    "d": "d my_dict mydict data_dict counts config user_map params settings ages lookup totals inventory json_obj",
    "s": "s text my_string mystring line sentence user_name raw_text title msg content first_name label input_str",
    "x": "x num total my_value price score amount ratio n_seconds y val width count_so_far temperature",
    "a": "a arr X matrix my_array A img data_matrix weights features y_pred points b samples grid",
    "df": "df data_frame sales df1 my_df users_df orders results_df df_new train_df customers frame",
    "dt": "dt start_date my_date created_at now end_date birthday d1 d2 date_obj deadline last_login",
    "o": "obj self user my_obj instance person car node request item_obj form employee",
    "p": "path my_path folder dir_path root_dir base_dir src_dir output_dir home target_dir data_dir",
    "st": "s1 my_set seen visited tags set_a set_b allowed ids known_words colors done_set",
}
LITERALS = {
    "k": "name id color price user email city age title status key1 total first_name host country phone",
    "w": "hello world foo apple bar cat red test python a banana error yes blue dog john admin spam green abc",
    "c": "A B name date price city score col1 age total user_id country category sales gender year",
    "f": "data.csv file.txt output.txt input.json test.csv log.txt users.csv results.dat notes.md my_file.txt a.txt",
    "sep": ", ; - : | _ / # \\t .",
    "rx": r"\d+ [a-z]+ \w+ [A-Z] \s+ ^abc [0-9]{3} (\d+)-(\d+) \bfoo\b [aeiou] <.*?> (\w+)@(\w+)",
    "fmt": "%Y-%m-%d %d/%m/%Y %H:%M %Y%m%d %d.%m.%y %m/%d/%Y %b-%d-%Y %H:%M:%S",
    "enc": "utf-8 ascii latin-1 utf-16 cp1252 utf8 iso-8859-1 big5 utf-32 gbk koi8-r cp437 utf-7 hz",
    "url": "http://example.com/data http://api.test.org/v1 https://my.site/users http://localhost/items",
}
PLAIN = {
    "ty": "int float str list dict tuple bool set complex bytes",
    "ax": "0 1 -1 2",
    "b": "2 8 16 36",
    "n": " ".join(str(number) for number in range(1, 31)),
}
POOLS = {kind: values.split() for kind, values in (NAMES | LITERALS | PLAIN).items()}

FRAMES = ["{}"] * 9 + ["how to {}", "{} in python", "how do I {}?", "python: {}", "{} using python", "best way to {}"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Operation:
    split: str
    code: str
    is_expression: bool
    phrasings: dict[str, list[str]]
    """`pretraining`, `study`, `held_out`: each share's phrasings, slots unfilled."""
    answer: str = ""
    """The code as this dataset writes it: see `house_rule`."""


@dataclass(frozen=True, slots=True)
class Row:
    nl: str
    plain: str
    """The operation's code without the house rule; what the pretraining corpus must not hold."""
    code: str


def pick(rng: Random, values: Sequence[T]) -> T:
    """Random.choice, but from random() alone, whose stream Python promises never to change."""
    return values[int(rng.random() * len(values))]


def expand(grammar: str) -> list[str]:
    parts = [part.split("|") for part in re.split(r"[\[\]]", grammar)]
    return list(dict.fromkeys(" ".join("".join(choice).split()) for choice in product(*parts)))


def share_phrasings(grammar: str) -> dict[str, list[str]]:
    # By checksum, not by position, so that no single word marks a share: only whole phrasings are held out.
    phrasings = sorted(expand(grammar), key=lambda phrasing: zlib.crc32(phrasing.encode()))
    cut, end = len(phrasings) // 2, len(phrasings) * 3 // 4
    return {"pretraining": phrasings[:cut], "study": phrasings[cut:end], "held_out": phrasings[end:]}


@cache
def operations() -> tuple[Operation, ...]:
    splits = {".": "train", "V": "validation", "T": "test"}
    found = []
    for line in OPERATIONS.strip().splitlines():
        code, grammar = line[2:].split(" :: ")
        sketch = ast.parse(re.sub(r"\$(\w+)", r"_\1", code)).body[0]
        answer = house_rule(code, grammar) if isinstance(sketch, ast.Expr) else code
        found.append(Operation(splits[line[0]], code, isinstance(sketch, ast.Expr), share_phrasings(grammar), answer))
    return tuple(found)


def house_rule(code: str, grammar: str) -> str:
    """What the dataset does with an expression's value. The rule goes by kind of operation, so a few shots show a
    part of it and the train split shows it all: this is what tuning can learn and in-context learning cannot."""
    slot = re.findall(r"\$([a-z]+\d?)", code)[0]
    if grammar.startswith("check "):
        return f"assert {code}"
    if kind_of(slot) in ("s", "df"):
        return f"${slot} = {code}"
    return f"result = {code}" if kind_of(slot) in ("a", "x") else code


def fill(operation: Operation, phrasing: str, rng: Random) -> Row:
    """One row in the study's own conventions: backticked names, quoted literals, single-quoted code."""
    nl: dict[str, str] = {}
    code: dict[str, str] = {}
    for slot in dict.fromkeys(re.findall(r"\$([a-z]+\d?)", operation.code)):
        kind = kind_of(slot)
        while slot not in code or len(set(code.values())) < len(code):  # two slots never share a value
            value = pick(rng, POOLS[kind])
            code[slot] = quote(value, kind) if kind in LITERALS else value
        nl[slot] = code[slot].removeprefix("r") if kind in LITERALS else f"`{code[slot]}`"
    return Row(put(phrasing, nl), put(operation.code, code), put(operation.answer, code))


def kind_of(slot: str) -> str:
    kind = slot.rstrip("23")
    return "n" if kind == "m" else kind


def quote(value: str, kind: str) -> str:
    return f"r'{value}'" if kind == "rx" else f"'{value}'"


def put(template: str, values: dict[str, str]) -> str:
    return re.sub(r"\$([a-z]+\d?)", lambda match: values[match[1]], template)


def draw(chosen: Sequence[Operation], share: str, rows: int, seen: set[str], rng: Random) -> list[Row]:
    """`rows` new rows, the operations taking turns; no intent and no answer comes twice in all splits."""
    drawn: list[Row] = []
    for turn in range(rows * 20):
        if len(drawn) == rows:
            return drawn
        operation = chosen[turn % len(chosen)]
        row = fill(operation, pick(rng, operation.phrasings[share]), rng)
        row = Row(pick(rng, FRAMES).format(row.nl), row.plain, row.code)
        if not seen & {row.nl, row.plain}:
            seen |= {row.nl, row.plain}
            drawn.append(row)
    raise ValueError(f"rows must be at most what the operations can give but got {rows}")


@cache
def splits() -> dict[str, tuple[Row, ...]]:
    rng, seen = Random(SPLIT_SEED), set[str]()
    by_split = {name: [op for op in operations() if op.split == name] for name in ("train", "validation", "test")}
    made = {}
    for name, rows in (("test", TEST_ROWS), ("validation", VALIDATION_ROWS)):
        new = round(rows * HELD_OUT_SHARE)
        # Test takes its share of the train operations from the front, validation from the back.
        old = by_split["train"] if name == "test" else by_split["train"][::-1]
        made[name] = draw(by_split[name], "held_out", new, seen, rng)
        made[name] += draw(old, "held_out", rows - new, seen, rng)
    made["train"] = draw(by_split["train"], "study", TRAIN_ROWS, seen, rng)
    # In an order that has nothing to do with the operations.
    return {name: tuple(sorted(rows, key=lambda row: zlib.crc32(row.nl.encode()))) for name, rows in made.items()}


def load(source: str | None = None, revision: str | None = None) -> dict[str, list[Example]]:
    """Load the three splits, `train`, `validation` and `test`."""
    if source is not None or revision is not None:
        raise ValueError(f"toy is embedded: source and revision must be left out but got {source!r}, {revision!r}")
    return {
        name: [Example(f"toy/{name}/{number}", row.nl, row.code) for number, row in enumerate(splits()[name])]
        for name in ("train", "validation", "test")
    }


DATASET = Dataset(
    name="toy",
    load=load,
    max_new_tokens=64,
    longest_tokens=96,
    test_size=TEST_ROWS,
    untuned_stop=("\n",),
    embedded=True,
)
