# shellcheck shell=sh
# Run a program with the management API, whose users need the tag `policymaker`. The scripts that copy data source this file.
# The image has no client of HTTP except Erlang's.
umask 077
# Standard input and output are bytes (LC_ALL=C), and variables are UTF-8 (+fnu).
export LC_ALL=C ERL_AFLAGS=+fnu ERL_CRASH_DUMP=/dev/null
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
cat >"$work/copy" <<'ERLANG'
#!/usr/bin/env escript

main([Action]) ->
    {ok, _} = application:ensure_all_started([inets, ssl]),
    [ok = io:setopts(Device, [{encoding, latin1}]) || Device <- [standard_io, standard_error]], % bytes, as they are
    ok = io:setopts([binary]),
    ok = httpc:set_options([{ipfamily, inet6fb4}, {max_keep_alive_length, 1000}]),
    try run(Action)
    catch
        throw:Message -> fail(Message);
        %% The reason and the arguments can contain a password.
        error:_:Stack -> fail(io_lib:format("~0p", [[{Module, Function} || {Module, Function, _, _} <- Stack]]))
    end.

run("inventory") -> print_inventory(read_definitions());
run("dump") ->
    Definitions = read_definitions(),
    print_inventory(Definitions),
    ok = file:write(standard_io, ["\n", encode(Definitions), "\n"]);
run("restore") ->
    count(read_definitions()) =:= 0 orelse
        throw(["the virtual host already holds ", integer_to_list(count(read_definitions())), " definitions; nothing was copied"]),
    Definitions = try json:decode(read_input([])) catch error:_ -> throw("the copy ends too early; nothing was copied") end,
    try create(Definitions)
    catch throw:Message ->
        delete(read_definitions()),
        throw([Message, "; the virtual host is empty again"])
    end;
run("empty") -> delete(read_definitions()).

%% What a restart of the server retains. The server has its own exchanges, and a binding of each queue to the exchange "".
read_definitions() ->
    Queues = [Queue || Queue <- get_pages(<<"queues">>), is_durable(Queue)],
    Exchanges = [Exchange || Exchange <- get_pages(<<"exchanges">>), is_durable(Exchange)],
    Bindings = get_list(<<"bindings">>),
    Named = fun(Items) -> #{Name => true || #{<<"name">> := Name} <- Items} end,
    Ends = #{<<"queue">> => Named(Queues), <<"exchange">> => Named(Exchanges)},
    Exists = fun(Type, Name) -> is_map_key(Name, maps:get(Type, Ends)) end,
    #{
        <<"queues">> => [take_queue(Queue) || Queue <- Queues],
        <<"exchanges">> =>
            [take([<<"name">>, <<"type">>, <<"durable">>, <<"auto_delete">>, <<"internal">>, <<"arguments">>], Exchange)
                || Exchange = #{<<"name">> := Name} <- Exchanges, not is_own(Name)],
        %% A queue or exchange that was created or deleted meanwhile is not in the copy; nor are its bindings.
        <<"bindings">> =>
            [take([<<"source">>, <<"destination">>, <<"destination_type">>, <<"routing_key">>, <<"arguments">>, <<"properties_key">>], Binding)
                || Binding = #{<<"source">> := Source, <<"destination">> := Name, <<"destination_type">> := Type} <- Bindings,
                    Source =/= <<>>, Exists(<<"exchange">>, Source), Exists(Type, Name)],
        <<"policies">> => [maps:remove(<<"vhost">>, Policy) || Policy <- get_list(<<"policies">>)],
        <<"parameters">> => [maps:remove(<<"vhost">>, Parameter) || Parameter = #{<<"vhost">> := VHost} <- read([<<"parameters">>]), VHost =:= vhost()]
    }.

is_durable(Item) -> maps:get(<<"durable">>, Item) andalso not maps:get(<<"exclusive">>, Item, false).
is_own(<<>>) -> true;
is_own(<<"amq.", _/binary>>) -> true;
is_own(_) -> false.

%% The server adds the argument `x-queue-type`, if the application did not declare it.
take_queue(Queue = #{<<"arguments">> := Arguments, <<"type">> := Type}) ->
    (take([<<"name">>, <<"durable">>, <<"auto_delete">>], Queue))#{<<"arguments">> => Arguments#{<<"x-queue-type">> => Type}}.

take(Keys, Item) -> maps:with(Keys, Item).

kinds() -> [<<"parameters">>, <<"policies">>, <<"queues">>, <<"exchanges">>, <<"bindings">>].
count(Definitions) -> lists:sum([length(Items) || Items <- maps:values(Definitions)]).

%% Values of parameters can contain passwords, for example in the URI of another server.
print_inventory(Definitions) ->
    Lines = [[Kind, " ", encode(describe(Item)), "\n"] || Kind <- kinds(), Item <- maps:get(Kind, Definitions)],
    ok = file:write(standard_io, lists:sort([iolist_to_binary(Line) || Line <- Lines])).

describe(Item = #{<<"value">> := Value}) ->
    Digest = crypto:hash(sha256, iolist_to_binary(encode(Value))),
    (maps:remove(<<"value">>, Item))#{<<"digest">> => binary:encode_hex(Digest, lowercase)};
describe(Item) -> maps:remove(<<"properties_key">>, Item).

create(Definitions) ->
    [create(Kind, Item) || Kind <- kinds(), Item <- maps:get(Kind, Definitions)].

create(<<"bindings">>, Item) -> send(post, [<<"bindings">>, vhost() | binding_path(Item)], take([<<"routing_key">>, <<"arguments">>], Item));
create(Kind, Item) -> send(put, path(Kind, Item), maps:without([<<"name">>, <<"component">>], Item)).

delete(Definitions) ->
    [send(delete, path(Kind, Item), none) || Kind <- lists:reverse(kinds()), Item <- maps:get(Kind, Definitions)].

path(<<"bindings">>, Item = #{<<"properties_key">> := Key}) -> [<<"bindings">>, vhost() | binding_path(Item)] ++ [Key];
path(<<"parameters">>, #{<<"component">> := Component, <<"name">> := Name}) -> [<<"parameters">>, Component, vhost(), Name];
path(Kind, #{<<"name">> := Name}) -> [Kind, vhost(), Name].

binding_path(#{<<"source">> := Source, <<"destination">> := Name, <<"destination_type">> := Type}) ->
    [<<"e">>, Source, binary:part(Type, 0, 1), Name].

get_list(Kind) -> read([Kind, vhost()]).
get_pages(Kind) -> get_pages(Kind, 1).
get_pages(Kind, Page) ->
    Query = ["?disable_stats=true&page_size=500&page=", integer_to_list(Page)],
    #{<<"items">> := Items, <<"page_count">> := Count} = json:decode(request(get, [Kind, vhost()], Query, none)),
    Items ++ if Page < Count -> get_pages(Kind, Page + 1); true -> [] end.

read(Path) -> json:decode(request(get, Path, "", none)).
send(Method, Path, Body) -> request(Method, Path, "", Body).

request(Method, Path, Query, Body) ->
    Tls = variable("TLS", "disable") =/= "disable",
    {Scheme, Port} = case Tls of true -> {"https", "15671"}; false -> {"http", "15672"} end,
    Address = case lists:member($:, variable("ADDRESS")) of true -> "[" ++ variable("ADDRESS") ++ "]"; false -> variable("ADDRESS") end,
    Url = lists:flatten([Scheme, "://", Address, ":", Port, "/api", [["/", uri_string:quote(Part)] || Part <- Path], Query]),
    Login = base64:encode_to_string(unicode:characters_to_binary([variable("USERNAME"), ":", variable("PASSWORD")])),
    Headers = [{"authorization", "Basic " ++ Login}],
    Request = case Body of none -> {Url, Headers}; _ -> {Url, Headers, "application/json", iolist_to_binary(encode(Body))} end,
    Options = [{autoredirect, false}, {connect_timeout, 10000}, {timeout, 120000}, {ssl, tls_options()}],
    case httpc:request(Method, Request, Options, [{body_format, binary}]) of
        {ok, {{_, Code, _}, _, Answer}} when Code >= 200, Code < 300 -> Answer;
        %% An item that the server deletes by itself, such as the bindings of a deleted queue.
        {ok, {{_, 404, _}, _, _}} when Method =:= delete -> <<>>;
        {ok, {{_, Code, _}, _, Answer}} -> throw(explain(Code, Answer, lists:join("/", Path)));
        {error, Reason} ->
            throw(io_lib:format("cannot reach the management API at ~ts:~ts; it needs the plugin `rabbitmq_management`: ~0p", [Address, Port, Reason]))
    end.

explain(Code, Answer, Path) ->
    Reason = try json:decode(Answer) of #{<<"reason">> := Text} when is_binary(Text) -> Text; _ -> <<>> catch error:_ -> <<>> end,
    Cure = case Code of 401 -> "; the user needs the tag `policymaker`"; _ -> "" end,
    ["the management API rejects ", Path, " (HTTP ", integer_to_list(Code), "): ", string:trim(Reason), Cure].

tls_options() ->
    case variable("TLS") of
        "verify-full" ->
            Authorities = case variable("CA_FILE") of "" -> {cacerts, read_authorities()}; File -> {cacertfile, File} end,
            [{verify, verify_peer}, Authorities, {depth, 10},
                {customize_hostname_check, [{match_fun, public_key:pkix_verify_hostname_match_fun(https)}]}];
        _ -> [{verify, verify_none}]
    end.

read_authorities() ->
    try public_key:cacerts_get() catch error:_ -> throw("the image has no CA certificates; set `caFile`") end.

vhost() -> unicode:characters_to_binary(variable("VHOST")).
variable(Name) -> variable(Name, "").
variable(Name, Default) -> case os:getenv(Name) of false -> Default; Value -> Value end.

%% JSON with sorted keys.
encode(Value) ->
    json:encode(Value, fun
        (Map, Encode) when is_map(Map) -> json:encode_key_value_list(lists:sort(maps:to_list(Map)), Encode);
        (Other, Encode) -> json:encode_value(Other, Encode)
    end).

read_input(Parts) ->
    case file:read(standard_io, 65536) of
        {ok, Part} -> read_input([Parts, Part]);
        eof -> iolist_to_binary(Parts)
    end.

fail(Message) ->
    ok = file:write(standard_error, ["error: ", unicode:characters_to_binary(io_lib:format("~ts", [Message])), "\n"]),
    halt(1).
ERLANG
copy() { escript "$work/copy" "$1"; } # copy ACTION
