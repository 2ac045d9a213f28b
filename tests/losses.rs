//! What the core makes of conversations of which the capture has lost a part, situation by situation.
#![expect(clippy::unwrap_used, reason = "a failed step is a failed test")]

mod support;

use network_agent::exchange::Exchange;
use network_agent::pipeline::{Pipeline, PipelineConfig};
use support::{Conversation, Frame, Side, run, say};

const GET: &str = "GET /a HTTP/1.1\r\nHost: shop\r\n\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";

fn request(number: usize) -> String {
    format!("GET /{number} HTTP/1.1\r\n\r\n")
}

fn response(number: usize) -> String {
    format!("HTTP/1.1 {} X\r\nContent-Length: 3\r\n\r\nabc", 210 + number)
}

/// What is made of the conversation when these of its frames are lost; the handshake has the first three.
fn without(lost: &[usize], conversation: &Conversation) -> Vec<Exchange> {
    let kept = |(number, frame): (usize, &Frame)| (!lost.contains(&number)).then(|| frame.clone());
    run(&conversation.frames.iter().enumerate().filter_map(kept).collect::<Vec<_>>()).0
}

fn response_body(exchange: &Exchange) -> u64 {
    exchange.response.as_ref().unwrap().transfer.body_bytes
}

#[test]
fn a_late_copy_after_a_reset_is_no_new_exchange() {
    let conversation = Conversation::new().handshake().client(request(0)).server(response(0)).client(request(1));
    let mut conversation = conversation.rst(Side::Server);
    conversation.frames.remove(3);
    // What waited behind the loss was reported when the reset came.
    let mut copy = conversation.frames[4].clone();
    copy.at = conversation.at + 2_000_000;
    conversation.frames.push(copy);
    assert_eq!(say(&run(&conversation.frames).0), ["GET /1 - connection_reset"]);
}

#[test]
fn a_reset_tells_what_was_lost_before_it() {
    let conversation = Conversation::new().cut_at(40).handshake().client(GET).server(OK).rst(Side::Server);
    let exchanges = without(&[5], &conversation);
    assert_eq!(say(&exchanges), ["GET /a 200 !"]);
    assert_eq!(response_body(&exchanges[0]), 5);
    assert_eq!(say(&without(&[4, 5], &conversation)), ["GET /a - !"]);
    let by_the_client = Conversation::new().handshake().client(GET).server(OK).rst(Side::Client);
    assert_eq!(say(&without(&[4], &by_the_client)), ["GET /a - !"]);
}

#[test]
fn a_reset_far_ahead_makes_no_bytes_up() {
    let asked = Conversation::new().handshake().client(GET).server("HTTP/1.1 200 OK\r\n\r\nhello");
    let exchanges = without(&[], &asked.raw(Side::Server, 5_000_000, support::RST, b""));
    assert_eq!(say(&exchanges), ["GET /a 200 connection_reset"]);
    assert_eq!(response_body(&exchanges[0]), 5);
}

#[test]
fn a_lost_fin_is_no_byte_of_the_body() {
    for head in ["HTTP/1.1 200 OK\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\n"] {
        let answered = Conversation::new().handshake().client(GET).server(format!("{head}hello"));
        let exchanges = without(&[5], &answered.fin(Side::Server).ack(Side::Client).fin(Side::Client));
        assert_eq!(say(&exchanges), ["GET /a 200 !"], "{head}");
        assert_eq!(response_body(&exchanges[0]), 5, "{head}");
    }
}

#[test]
fn a_lost_byte_of_a_body_is_one_when_the_body_goes_on() {
    for ending in [true, false] {
        let answered = Conversation::new().handshake().client(GET).server("HTTP/1.1 200 OK\r\n\r\nhel");
        let answered = answered.server("l").ack(Side::Client).wait(300_000_000);
        let answered = if ending { answered.fin(Side::Server) } else { answered.server("o!") };
        let exchanges = without(&[5], &answered.ack(Side::Client));
        assert_eq!(response_body(&exchanges[0]), if ending { 4 } else { 6 });
    }
}

#[test]
fn http_ends_with_a_switch_of_protocols_whose_head_was_cut() {
    let cases = [
        ("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n", "HTTP/1.1 101 Switching Protocols\r\n", "GET /ws 101 !"),
        ("CONNECT h:1 HTTP/1.1\r\n\r\n", "HTTP/1.1 200 Connected, so to say\r\n", "CONNECT h:1 200 !"),
    ];
    for (asks, first_half, told) in cases {
        let switched = Conversation::new().handshake().client(asks).server(first_half).server("X: y\r\n\r\n");
        let tunnel = switched.ack(Side::Client).wait(300_000_000).client(request(1)).server(response(1));
        assert_eq!(say(&without(&[5], &tunnel)), [told]);
    }
}

#[test]
fn what_follows_other_bytes_of_its_turn_is_not_proven_to_be_a_request() {
    // The client has sent the end of a body, or of another request, when it had received no more.
    let asked = Conversation::new().handshake().client(request(8)).server(response(8)).client(request(0));
    let conversation = asked.client("end of a body").client(request(1)).server(response(0)).ack(Side::Client);
    assert_eq!(say(&without(&[4, 5], &conversation.wait(300_000_000).close())), ["GET /8 - !"]);
}

#[test]
fn a_refused_tunnel_does_not_take_the_answer_to_a_later_request() {
    let refused = Conversation::new().handshake().client("CONNECT h:1 HTTP/1.1\r\n\r\n").server(response(0));
    let asked = refused.client("POST /1 HTTP/1.1\r\nContent-Length: 4\r\n\r\n").client("abcd");
    let conversation = asked.server(response(1)).ack(Side::Client).close();
    assert_eq!(say(&without(&[4, 5], &conversation)), ["CONNECT h:1 - !"]);
}

#[test]
fn what_follows_a_hidden_continue_is_a_body() {
    let upload = "PUT /0 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 19\r\n\r\n";
    let asked = Conversation::new().handshake().client(upload).server("HTTP/1.1 100 Continue\r\n\r\n");
    // A body that is a request, and an answer that fits it.
    let conversation = asked.client(request(1)).server(response(0)).client(request(2)).server(response(2)).close();
    assert_eq!(say(&without(&[3, 4], &conversation)), ["GET /2 212"]);
    let begun = Conversation::new().handshake().client(request(8)).server(response(8)).client(upload);
    let asked = begun.server("HTTP/1.1 100 Continue\r\n\r\n").client(request(1)).server(response(0));
    let conversation = asked.client(request(2)).server(response(2)).close();
    assert_eq!(say(&without(&[5, 6], &conversation)), ["GET /8 218", "GET /2 212"]);
}

#[test]
fn skipped_bytes_may_be_the_answer() {
    let chunked = "HTTP/1.1 210 X\r\nTransfer-Encoding: chunked\r\n\r\n";
    let conversation =
        Conversation::new().handshake().client(request(0)).server(chunked).server("3\r\nabc\r\n0\r\n\r\n");
    let conversation = conversation.client(request(1)).server("\r\n\r\nHTTP/1.1 211 X\r\n\r\n").fin(Side::Server);
    assert_eq!(say(&without(&[5], &conversation)), ["GET /0 210 !", "GET /1 - !"]);
}

#[test]
fn what_was_lost_after_a_response_to_nobody_may_be_an_answer() {
    // Without its request nobody knows that this response has no body.
    let conversation =
        Conversation::new().handshake().client("HEAD /0 HTTP/1.1\r\n\r\n").server("HTTP/1.1 210 X\r\n\r\n");
    let conversation = conversation.client(request(1)).server(response(1)).ack(Side::Client).fin(Side::Server);
    assert_eq!(say(&without(&[3, 6], &conversation)), ["GET /1 - !"]);
}

#[test]
fn an_upload_whose_chunks_were_lost_keeps_its_answer() {
    let head = "POST /0 HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n";
    let asked = Conversation::new().handshake().client(format!("{head}3\r\nabc\r\n"));
    let asked = asked.client("3\r\ndef\r\n3\r\nghi\r\n").client("3\r\njkl\r\n0\r\n\r\n");
    let conversation = asked.server(response(0)).client(request(1)).server(response(1)).close();
    assert_eq!(say(&without(&[4], &conversation)), ["POST /0 210 !", "GET /1 211"]);
}

#[test]
fn a_response_that_comes_byte_by_byte_is_found_after_a_loss() {
    let long = "HTTP/1.1 210 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n";
    let conversation = Conversation::new().handshake().client(request(0)).server(long).server("0\r\n\r\n");
    let conversation = conversation.client(request(1)).cut_at(1).server(response(1)).close();
    assert_eq!(say(&without(&[5], &conversation)), ["GET /0 210 !", "GET /1 211"]);
}

#[test]
fn a_join_at_a_keep_alive_probe_finds_the_next_request() {
    let probed = Conversation::new().raw(Side::Client, -1, support::ACK, b"\0").ack(Side::Server);
    let conversation = probed.client(request(0)).server(response(0)).client(request(1)).server(response(1));
    assert_eq!(say(&without(&[], &conversation)), ["GET /0 210", "GET /1 211"]);
}

#[test]
fn reused_ports_whose_syn_was_lost_are_a_new_connection_whatever_their_numbers() {
    let first = Conversation::new().handshake().client(request(0)).server(response(0)).close();
    for start in [1 << 20, 1 << 29, 1 << 31, 3 << 30, u32::MAX - (1 << 27)] {
        let mut second = Conversation::new().starting_at(start, start).wait(1_000_000_000);
        second = second.handshake().client(request(1)).server(response(1)).close();
        let frames = [first.frames.clone(), second.frames[3..].to_vec()].concat();
        assert_eq!(say(&run(&frames).0), ["GET /0 210", "GET /1 211"], "{start}");
    }
}

/// A request of a client that does not wait for its answers, larger than a segment.
fn long_request(number: usize) -> String {
    format!("GET /{number} HTTP/1.1\r\nX: {}\r\n\r\n", "x".repeat(1400))
}

#[test]
fn a_join_within_the_burst_of_a_client_that_does_not_wait_gives_no_answer_of_another_request() {
    let burst: String = (0..3).map(long_request).collect();
    let asked = Conversation::new().cut_at(long_request(0).len()).handshake().client(burst);
    // The answers to the first two fit the third request to the byte.
    let answered = asked.server(response(0)).server(response(1)).server(response(2)).ack(Side::Client);
    assert_eq!(say(&run(&answered.frames[5..]).0), ["GET /2 - !"]);
    assert_eq!(say(&run(&answered.close().frames[5..]).0), ["GET /2 - !"]);
}

#[test]
fn a_burst_that_was_lost_but_for_its_last_request_gives_no_answer_of_another_request() {
    let begun = Conversation::new().handshake().client(request(8)).server(response(8));
    let burst: String = (0..3).map(long_request).collect();
    let asked = begun.cut_at(long_request(0).len()).client(burst).server(response(0)).ack(Side::Client);
    let conversation = asked.client(long_request(3)).server(response(1)).server(response(2)).server(response(3));
    assert_eq!(say(&without(&[5, 6, 7], &conversation.wait(900_000_000).close())), ["GET /8 218", "GET /3 - !"]);
}

#[test]
fn a_join_is_trusted_as_soon_as_a_turn_fits() {
    let conversation =
        Conversation::new().client(request(0)).server(response(0)).client(request(1)).server(response(1));
    let said = |count: usize| say(&run(&conversation.frames[..count]).0);
    assert_eq!(said(2), ["GET /0 210 !"]);
    assert_eq!(said(3), ["GET /0 210", "GET /1 - !"]);
    assert_eq!(said(4), ["GET /0 210", "GET /1 211"]);
    let joined_in_an_answer = say(&run(&conversation.frames[1..]).0);
    assert_eq!(joined_in_an_answer, ["GET /1 211"]);
}

#[test]
fn the_first_answer_after_a_join_is_held_back_for_a_moment_only() {
    let mut pipeline = Pipeline::new(PipelineConfig::default());
    let mut exchanges: Vec<Exchange> = Vec::new();
    let conversation = Conversation::new().client(request(0)).server(response(0));
    for frame in &conversation.frames {
        pipeline.handle_packet(&frame.packet(), &mut exchanges);
    }
    assert_eq!(exchanges.len(), 0);
    let ended = conversation.frames[1].at;
    while let Some(due) = pipeline.poll_timeout().filter(|due| due.as_nanos() <= ended + 1_000_000_000) {
        pipeline.handle_timeout(due, &mut exchanges);
    }
    assert_eq!(say(&exchanges), ["GET /0 210 !"]);
}

#[test]
fn a_connection_that_was_silent_for_long_has_nothing_under_way() {
    let other = Conversation::between("10.1.0.9:1000", "10.1.0.80:80").handshake();
    let conversation = Conversation::new().wait(60_000_000_000).client(request(0)).server(response(0));
    let frames = [other.frames, conversation.frames].concat();
    assert_eq!(say(&run(&frames).0), ["GET /0 210"]);
}

#[test]
fn a_join_before_a_switch_of_protocols_is_no_doubt() {
    let asked = Conversation::new().client("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n");
    let switched = asked.server("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(say(&run(&switched.frames).0), ["GET /ws 101"]);
}

#[test]
fn a_client_that_goes_after_its_answer_waited_for_it() {
    let answered = Conversation::new().client(request(0)).server(response(0));
    assert_eq!(say(&run(&answered.clone().close().frames).0), ["GET /0 210"]);
    // A server may close the connection with answers still to come.
    assert_eq!(say(&run(&answered.fin(Side::Server).frames).0), ["GET /0 210 !"]);
}

#[test]
fn what_follows_an_interim_response_to_a_lost_upload_is_a_body() {
    let upload = "PUT /0 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 19\r\n\r\n";
    let begun = Conversation::new().handshake().client(request(8)).server(response(8)).client(upload);
    let asked = begun.server("HTTP/1.1 100 Continue\r\n\r\n").client(request(1)).server(response(0));
    let conversation = asked.client(request(2)).server(response(2)).close();
    assert_eq!(say(&without(&[5], &conversation)), ["GET /8 218", "GET /2 212"]);
}

#[test]
fn an_answer_proves_none_of_several_texts_that_look_like_requests() {
    let upload = "PUT /0 HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 38\r\n\r\n";
    let begun = Conversation::new().handshake().client(request(8)).server(response(8)).client(upload);
    let asked = begun.server("HTTP/1.1 100 Go on, please\r\n\r\n").client(request(1)).client(request(2));
    let conversation = asked.server(response(0)).client(request(3)).server(response(3)).close();
    assert_eq!(say(&without(&[5, 6], &conversation)), ["GET /8 218", "GET /3 213"]);
}

#[test]
fn whose_answer_cannot_be_told_did_not_fail() {
    // The answers to other requests of the same burst may have come before the reset.
    let asked = Conversation::new().client(request(0)).client(request(1)).rst(Side::Server);
    assert_eq!(say(&run(&asked.frames).0), ["GET /0 - !", "GET /1 - !"]);
}

#[test]
fn who_goes_on_before_its_answer_has_come_did_not_wait_for_it() {
    let burst = Conversation::new().client(request(0)).client(request(1));
    // The answer to the first fits the second to the byte; it is still on its way when the client asks again.
    let asked = burst.raw(Side::Server, 0, support::ACK, response(0).as_bytes()).client(request(2));
    assert_eq!(say(&run(&asked.frames[1..]).0), ["GET /1 - !", "GET /2 - !"]);
    let answered = asked.taken(Side::Server, response(0).len()).server(response(1));
    assert_eq!(say(&run(&answered.frames[1..]).0), ["GET /1 - !", "GET /2 - !"]);
    let goes_on = answered.client(request(3)).server(response(2));
    assert_eq!(say(&run(&goes_on.frames[1..]).0), ["GET /1 - !", "GET /2 - !", "GET /3 - !"]);
}

#[test]
fn who_goes_on_before_its_answer_has_come_did_not_wait_before_either() {
    // As above, but the capture shows the end of the answer before, and the client had received just this.
    let burst = Conversation::new().client(request(8)).client(request(0));
    let joined = burst.server(response(8)).client(request(1));
    let asked = joined.raw(Side::Server, 0, support::ACK, response(0).as_bytes()).client(request(2));
    let answered = asked.taken(Side::Server, response(0).len()).server(response(1));
    assert_eq!(say(&run(&answered.frames[2..]).0), ["GET /1 - !", "GET /2 - !"]);
}

#[test]
fn who_once_went_on_before_its_answer_had_come_is_not_believed_to_wait_after_a_loss() {
    let asked = Conversation::new().handshake().client(request(0));
    let asked = asked.raw(Side::Server, 0, support::ACK, response(0).as_bytes()).client(request(1));
    let answered = asked.taken(Side::Server, response(0).len()).server(response(1));
    let again = answered.client(request(2)).client(request(3)).server(response(2)).wait(300_000_000);
    let goes_on = again.client(request(4)).server(response(3)).client(request(5)).server(response(4));
    assert_eq!(say(&without(&[7, 8], &goes_on)), ["GET /0 210", "GET /1 211", "GET /4 - !", "GET /5 - !"]);
}

#[test]
fn a_turn_with_a_loss_in_it_proves_nothing() {
    // The loss is within the body of the answer before it, or within its head.
    for length in [38, 20] {
        let answer = response(0);
        let (first, second) = answer.split_at(length);
        let asked = Conversation::new().handshake().client(request(0)).server(first).client(request(1));
        // The server has both when it ends its first answer: its next one fits the third to the byte.
        let asked = asked.server(second).ack(Side::Client).wait(300_000_000).client(request(2));
        let answered = asked.server(response(1)).server(response(2)).ack(Side::Client);
        assert_eq!(say(&without(&[5], &answered)), ["GET /0 210", "GET /2 - !"], "{length}");
    }
}

#[test]
fn an_answer_from_a_server_that_had_received_more_shows_that_its_client_does_not_wait() {
    let asked = Conversation::new().handshake().client(request(0)).client(request(1)).server(response(0));
    let answered = asked.wait(300_000_000).client(request(2)).server(response(1));
    assert_eq!(say(&without(&[4], &answered)), ["GET /0 - !", "GET /2 - !"]);
    // The same after a join, when the answer before is held back.
    let joined = Conversation::new().client(request(0)).client(request(1)).server(response(0));
    let again = joined.client(request(2)).client(request(3)).server(response(1)).wait(300_000_000).close();
    assert_eq!(say(&without(&[0, 4], &again)), ["GET /1 - !", "GET /2 - !"]);
}

#[test]
fn an_answer_from_a_server_that_had_not_received_it_shows_that_its_client_does_not_wait() {
    let asked = Conversation::new().client(request(8)).raw(Side::Client, 0, support::ACK, request(0).as_bytes());
    let asked = asked.server(response(8)).taken(Side::Client, request(0).len());
    let answered = asked.client(request(1)).server(response(0));
    assert_eq!(say(&run(&answered.frames[1..]).0), ["GET /0 - !", "GET /1 - !"]);
}

#[test]
fn an_answer_that_breaks_off_after_a_join_may_be_another_s() {
    let burst = Conversation::new().client(request(0)).client(request(1));
    let broken = burst.server("HTTP/1.1 210 X\r\nContent-Length: 30\r\n\r\nabc");
    let said = |conversation: Conversation| say(&run(&conversation.frames[1..]).0);
    assert_eq!(said(broken.clone().fin(Side::Server)), ["GET /1 210 response_incomplete !"]);
    assert_eq!(said(broken.clone().rst(Side::Server)), ["GET /1 210 connection_reset !"]);
    assert_eq!(said(broken.close()), ["GET /1 210 response_incomplete !"]);
}

#[test]
fn who_asks_twice_at_once_after_an_answer_may_have_done_so_before_it() {
    let asked = Conversation::new().client(request(0)).client(request(1)).server(response(0));
    let again = asked.client(request(2)).client(request(3)).server(response(1)).server(response(2));
    let told = ["GET /1 - !", "GET /2 - !", "GET /3 - !"];
    assert_eq!(say(&run(&again.frames[1..]).0), told);
    assert_eq!(say(&run(&again.frames[1..5]).0), told, "whatever comes then");
}

#[test]
fn a_request_after_an_answer_of_which_the_end_was_lost_is_in_doubt() {
    // What was lost may hold the answer to the second: the next fits the third to the byte.
    let burst = Conversation::new().client(request(0)).client(request(1));
    let answered = burst.server("HTTP/1.1 210 X\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n").server("0\r\n\r\n");
    let asked = answered.ack(Side::Client).wait(300_000_000).client(request(2)).server(response(1));
    assert_eq!(say(&without(&[0, 3], &asked)), ["GET /1 210 !", "GET /2 211 !"]);
}

#[test]
fn a_request_that_the_server_had_not_received_when_it_ended_an_answer_is_in_doubt() {
    let answer = response(8);
    let (first, second) = answer.split_at(20);
    let asked = Conversation::new().client(request(8)).server(first);
    // The server has not received it when it ends its answer to the one before.
    let asked = asked.raw(Side::Client, 0, support::ACK, request(0).as_bytes());
    let asked = asked.server(second).taken(Side::Client, request(0).len());
    let answered = asked.client(request(1)).server(response(0));
    assert_eq!(say(&run(&answered.frames[2..]).0), ["GET /0 - !", "GET /1 210 !"]);
}

#[test]
fn an_early_answer_to_a_client_that_goes_on_with_just_this_is_no_doubt() {
    let asked = Conversation::new().client("POST /0 HTTP/1.1\r\nContent-Length: 6\r\n\r\nabc").server(response(0));
    assert_eq!(say(&run(&asked.client("def").client(request(1)).frames).0), ["POST /0 210", "GET /1 - !"]);
}

#[test]
fn an_answer_is_in_doubt_when_what_follows_it_was_lost() {
    let answered = Conversation::new().client(request(0)).client(request(1)).server(response(0)).server(response(1));
    let asked = answered.clone().client(request(2)).server(response(2));
    let asked = asked.client(request(3)).server(response(3)).wait(300_000_000).close();
    // The next request shows that the client had received more, and the one after it as well.
    assert_eq!(say(&without(&[0, 3], &asked)), ["GET /1 210 !", "GET /2 212", "GET /3 213"]);
    assert_eq!(say(&without(&[0, 3, 4, 5], &asked)), ["GET /1 210 !", "GET /3 213"]);
    assert_eq!(say(&without(&[0, 3, 4], &asked)), ["GET /1 210 !", "GET /3 213"]);
    // The next answer shows that another was lost.
    let uploads =
        answered.clone().client("POST /2 HTTP/1.1\r\nContent-Length: 4\r\n\r\n").client("abcd").server(response(2));
    let uploads = uploads.ack(Side::Client).wait(300_000_000).close();
    assert_eq!(say(&without(&[0, 3, 4], &uploads)), ["GET /1 210 !"]);
    // A client that goes had received more, too.
    let gone = answered.clone().ack(Side::Client).wait(300_000_000).close();
    assert_eq!(say(&without(&[0, 3], &gone)), ["GET /1 210 !"]);
    // At once, before what was lost counts as lost.
    assert_eq!(say(&without(&[0, 3], &answered.close())), ["GET /1 210 !"]);
}

#[test]
fn a_turn_with_a_lost_answer_in_it_proves_nothing() {
    let burst = Conversation::new().client(request(0)).client(request(1)).client(request(2)).server(response(0));
    // The client has the second answer when it goes on; the third fits the fourth request to the byte.
    let asked = burst.server(response(1)).client(request(3)).server(response(2));
    assert_eq!(say(&without(&[0, 1, 4], &asked)), ["GET /2 210 !", "GET /3 212 !"]);
}

#[test]
fn what_shows_that_a_client_does_not_wait_may_come_after_a_lost_answer() {
    let begun = Conversation::new().client(request(8)).client(request(0)).server(response(8)).client(request(1));
    let answered = begun.server(response(0)).server(response(1)).client(request(2));
    let again = answered.client(request(3)).server(response(2)).ack(Side::Client);
    assert_eq!(say(&without(&[0, 1, 5, 7], &again)), ["GET /1 - !", "GET /2 - !"]);
}

#[test]
fn requests_that_were_lost_later_put_no_answer_to_earlier_ones_in_doubt() {
    let asked = Conversation::new().handshake().client(request(0)).client(request(1)).client(request(2));
    let answered = asked.server(response(0)).server(response(1)).server(response(2)).ack(Side::Client);
    assert_eq!(say(&without(&[5], &answered)), ["GET /0 210", "GET /1 211"]);
}

#[test]
fn an_answer_is_proven_by_the_next_with_its_interim_responses() {
    let asked = Conversation::new().client(request(0)).server(response(0)).client(request(1));
    let answered = asked.server("HTTP/1.1 103 Early Hints\r\n\r\n").server(response(1)).ack(Side::Client);
    assert_eq!(say(&without(&[2], &answered)), ["GET /0 210"]);
}
