<?php
// PHPMailer: its SMTP class with a letter as it is or, with the argument `compose`, the whole of it with a letter of its
// own, which is written beside. Jobs as JSON on standard input, one line of JSON as answer to each.

require '/usr/share/php/libphp-phpmailer/autoload.php';

use PHPMailer\PHPMailer\PHPMailer;
use PHPMailer\PHPMailer\SMTP;

$act = ($argv[1] ?? '') === 'compose' ? 'compose' : 'deliver';
foreach (json_decode(stream_get_contents(STDIN)) as $job) {
    try {
        $answer = ['ok' => true, 'text' => $act($job)];
    } catch (Exception $error) {
        $answer = ['ok' => false, 'text' => $error->getMessage()];
    }
    echo json_encode($answer), "\n";
}

function tls($job): array
{
    return ['ssl' => ['cafile' => $job->ca, 'peer_name' => $job->host]];
}

function deliver($job): string
{
    $smtp = new SMTP();
    $steps = [
        fn () => $smtp->connect(($job->tls === 'implicit' ? 'ssl://' : '') . $job->host, $job->port, 60, tls($job)),
        fn () => $smtp->hello('stranger.example'),
        fn () => $job->tls === 'implicit' || ($smtp->startTLS() && $smtp->hello('stranger.example')),
        fn () => $smtp->authenticate($job->username, $job->password),
        fn () => $smtp->mail($job->sender),
        ...array_map(fn ($recipient) => fn () => $smtp->recipient($recipient), $job->recipients),
        // It writes a line end of its own before the dot.
        fn () => $smtp->data(preg_replace('/\r\n\z/', '', file_get_contents($job->path))),
    ];
    foreach ($steps as $step) {
        if (!$step()) {
            $error = $smtp->getError();
            throw new Exception(trim("{$error['error']} {$error['smtp_code']} {$error['smtp_code_ex']} {$error['detail']}"));
        }
    }
    $said = $smtp->getLastReply();
    $smtp->quit();
    return $said;
}

function compose($job): string
{
    $mail = new PHPMailer(true);
    $mail->isSMTP();
    $mail->Host = $job->host;
    $mail->Port = $job->port;
    $mail->SMTPSecure = $job->tls === 'implicit' ? PHPMailer::ENCRYPTION_SMTPS : PHPMailer::ENCRYPTION_STARTTLS;
    $mail->SMTPOptions = tls($job);
    $mail->SMTPAuth = true;
    $mail->Username = $job->username;
    $mail->Password = $job->password;
    $mail->CharSet = 'utf-8';
    $mail->setFrom($job->sender, 'Ein Fremder, Köln');
    foreach ($job->recipients as $recipient) {
        $mail->addAddress($recipient);
    }
    $mail->Subject = 'Grüße, composed';
    $mail->Body = "<p>Grüße</p>\n.\n..\n";
    $mail->AltBody = "Grüße\n.\n..\nEnde";
    $mail->addStringAttachment(str_repeat('noise', 10000), 'noise.bin');
    $mail->preSend();
    // It writes a line end of its own before the dot.
    file_put_contents($job->path, $mail->getSentMIMEMessage() . "\r\n");
    $mail->postSend();
    return 'sent';
}
